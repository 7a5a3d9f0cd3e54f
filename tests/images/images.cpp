// SPDX-License-Identifier: Apache-2.0
#include "tests/images/images.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <sstream>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/units.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {
namespace {

constexpr std::size_t kPiece = 256 * kKiB;

}  // namespace

std::string run_tool(const std::vector<std::string>& arguments, const std::string& folder,
                     const std::string& input) {
  CommandOptions options;
  options.folder = folder;
  options.input = input;
  // Where mke2fs and its like live is not in everybody's PATH; the time makes file systems the same in every
  // run.
  options.environment = {{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"},
                         {"SOURCE_DATE_EPOCH", "1700000000"},
                         {"E2FSPROGS_FAKE_TIME", "1700000000"}};
  CommandResult result = run_command(arguments, options);
  INFO(arguments.front() << ": " << result.err << result.out);
  REQUIRE(result.exit_code == 0);
  return std::move(result.out);
}

void make_sparse_file(const std::string& path, std::uint64_t bytes) {
  FileDescriptor::open(path, O_WRONLY | O_CREAT | O_TRUNC);
  std::filesystem::resize_file(path, bytes);
}

void overwrite(const std::string& path, std::uint64_t offset, ByteView bytes) {
  write_at(FileDescriptor::open(path, O_WRONLY | O_CREAT).get(), bytes, offset, path);
}

Bytes text_bytes(std::uint64_t seed, std::size_t count) {
  Random random(seed);
  std::string text;
  while (text.size() < count) text += fmt::format("option_{} = {}\n", random.below(64), random.below(1000));
  text.resize(count);
  const ByteView view = as_byte_view(text);
  return {view.begin(), view.end()};
}

void make_mixed_disk(const std::string& path, std::uint64_t size, std::uint64_t seed) {
  constexpr std::size_t kOdd = 40000;  // no multiple of any cluster or sector
  make_sparse_file(path, size);
  Random random(seed);
  for (std::uint64_t at = 0; at < size; at += kOdd) {
    const std::size_t length = std::min<std::uint64_t>(kOdd, size - at);
    switch (random.below(4)) {
      case 0:
        overwrite(path, at, random_bytes(random.next(), length));
        break;
      case 1:
        overwrite(path, at, text_bytes(random.next(), length));
        break;
      case 2:
        overwrite(path, at, Bytes(length));
        break;
      default:
        break;
    }
  }
}

void fill_tree(const std::string& folder, std::uint64_t seed) {
  Random random(seed);
  std::filesystem::create_directories(folder + "/a/deep/er");
  std::filesystem::create_directories(folder + "/many");
  const auto add = [&](const std::string& path, std::size_t bytes) {
    const std::uint64_t content = random.next();
    write_file(folder + path, content % 2 == 0 ? random_bytes(content, bytes) : text_bytes(content, bytes));
  };
  add("/empty", 0);
  add("/a/one-byte", 1);
  add("/a/block", 4096);
  add("/a/block-and-byte", 4097);
  add("/a/deep/odd \xff\n\"name", 100);
  add("/a/deep/er/large", 1 * kMiB + random.below(100'000));
  add("/a/deep/er/library.so", 300'000 + random.below(100'000));
  for (int i = 0; i < 60; ++i) add(fmt::format("/many/{}.conf", i), random.below(9000));
  make_sparse_file(folder + "/sparse", 4 * kMiB);
  overwrite(folder + "/sparse", random.below(2 * kMiB), random_bytes(random.next(), 10'000));
  overwrite(folder + "/sparse", 4 * kMiB - 10'000, random_bytes(random.next(), 10'000));
  std::filesystem::create_symlink("a/one-byte", folder + "/short-link");
  std::filesystem::create_symlink(std::string(100, 'l'), folder + "/long-link");
  std::filesystem::create_hard_link(folder + "/a/block", folder + "/hard-link");
}

void make_file_system(const std::string& path, const std::string& folder, std::uint64_t bytes,
                      const std::vector<std::string>& options) {
  make_sparse_file(path, bytes);
  const std::string id = "6f0aa3a3-0001-4c7e-9d4e-1f1b2a3c4d5e";
  std::vector<std::string> arguments{"mke2fs",          "-q", "-F",  "-L", "sample", "-U", id, "-E",
                                     "hash_seed=" + id, "-d", folder};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.push_back(path);
  run_tool(arguments);
}

void make_sample_image(const std::string& path, std::uint64_t bytes, std::uint64_t seed,
                       const std::vector<std::string>& options) {
  const TempDir folder;
  std::filesystem::create_directory(folder / "tree");
  fill_tree(folder / "tree", seed);
  make_file_system(path, folder / "tree", bytes, options);
}

void make_disk_with_two_volumes(const std::string& path, std::uint64_t seed) {
  const TempDir folder;
  make_sample_image(folder / "first", 15 * kMiB, seed);
  make_sample_image(folder / "second", 12 * kMiB, seed + 1, {"-t", "ext2", "-b", "1024"});
  make_sparse_file(path, 32 * kMiB);
  run_tool({"sfdisk", "-q", path}, {},
           "label: gpt\nlabel-id: 6F0AA3A3-0002-4C7E-9D4E-1F1B2A3C4D5E\n"
           "start=2048, size=30720, type=linux, uuid=6F0AA3A3-0003-4C7E-9D4E-1F1B2A3C4D5E\n"
           "start=34816, size=24576, type=linux, uuid=6F0AA3A3-0004-4C7E-9D4E-1F1B2A3C4D5E\n");
  run_tool({"dd", "if=" + (folder / "first"), "of=" + path, "bs=1M", "seek=1", "conv=notrunc,sparse",
            "status=none"});
  run_tool({"dd", "if=" + (folder / "second"), "of=" + path, "bs=1M", "seek=17", "conv=notrunc,sparse",
            "status=none"});
}

void debugfs(const std::string& image, const std::vector<std::string>& requests) {
  std::string script;
  for (const std::string& request : requests) script += request + "\n";
  run_tool({"debugfs", "-w", "-f", "/dev/stdin", image}, {}, script);
}

std::vector<FilePlace> places_of(const std::string& image, const std::vector<std::string>& files) {
  constexpr std::string_view kPrompt = "debugfs: ";
  constexpr std::string_view kSize = "Size: ";
  std::string script;
  for (const std::string& file : files) script += "stat " + file + "\nblocks " + file + "\n";
  const std::string answers = run_tool({"debugfs", "-f", "/dev/stdin", image}, {}, script);
  std::vector<FilePlace> places;
  std::size_t at = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    FilePlace place;
    at = answers.find(kSize, at);
    REQUIRE(at != std::string::npos);
    place.bytes = std::stoull(answers.substr(at + kSize.size()));
    at = answers.find('\n', answers.find(kPrompt, at));
    std::istringstream text(answers.substr(at, answers.find(kPrompt, at) - at));
    for (std::uint64_t block = 0; text >> block;) place.blocks.push_back(block);
    places.push_back(std::move(place));
  }
  return places;
}

std::string sha256_of(const std::string& path) {
  const auto file = FileDescriptor::open(path, O_RDONLY);
  Sha256 hasher;
  Bytes piece(kPiece);
  for (std::uint64_t at = 0;;) {
    const std::size_t got = read_at(file.get(), piece, at, path);
    if (got == 0) return hasher.finish().hex();
    hasher.update(ByteView(piece).first(got));
    at += got;
  }
}

std::uint64_t allocated_bytes(const std::string& path) {
  struct stat facts{};
  REQUIRE(::stat(path.c_str(), &facts) == 0);
  return static_cast<std::uint64_t>(facts.st_blocks) * 512;
}

bool same_bytes(const std::string& a, const std::string& b) {
  const std::uint64_t size = std::filesystem::file_size(a);
  if (size != std::filesystem::file_size(b)) return false;
  const auto file_a = FileDescriptor::open(a, O_RDONLY);
  const auto file_b = FileDescriptor::open(b, O_RDONLY);
  // Where the next byte is that is in no hole of that file.
  const auto next_data = [&](const FileDescriptor& file, std::uint64_t at) {
    const off_t found = ::lseek(file.get(), static_cast<off_t>(at), SEEK_DATA);
    return found < 0 ? size : static_cast<std::uint64_t>(found);
  };
  Bytes piece_a(kPiece);
  Bytes piece_b(kPiece);
  for (std::uint64_t at = 0; at < size; at += kPiece) {
    at = std::min(next_data(file_a, at), next_data(file_b, at));
    const std::size_t got = read_at(file_a.get(), piece_a, at, a);
    if (read_at(file_b.get(), piece_b, at, b) != got) return false;
    if (!std::equal(piece_a.begin(), piece_a.begin() + static_cast<std::ptrdiff_t>(got), piece_b.begin()))
      return false;
  }
  return true;
}

}  // namespace vmpack::test
