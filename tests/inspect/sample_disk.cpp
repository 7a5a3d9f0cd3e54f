// SPDX-License-Identifier: Apache-2.0
#include "tests/inspect/sample_disk.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/file_descriptor.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {

std::string run(const std::vector<std::string>& arguments, const std::string& input) {
  CommandOptions options;
  options.input = input;
  // Where mke2fs and its like live is not in everybody's PATH.
  options.environment = {{"PATH", "/usr/sbin:/usr/bin:/sbin:/bin"}, {"LC_ALL", "C.UTF-8"}};
  const CommandResult result = run_command(arguments, options);
  INFO(arguments.front() << ": " << result.err);
  REQUIRE(result.exit_code == 0);
  return result.out;
}

std::map<std::string, Bytes> fill_tree(const std::string& folder) {
  constexpr std::uint64_t kSeed = 7;
  std::map<std::string, Bytes> contents;
  const auto add = [&](const std::string& path, Bytes bytes) {
    write_file(folder + path, bytes);
    contents[path] = std::move(bytes);
  };
  std::filesystem::create_directories(folder + "/a/deep/er");
  std::filesystem::create_directory(folder + "/many");
  add("/a/x", random_bytes(kSeed, 1));
  add("/a-b", random_bytes(kSeed + 1, 4096));
  add("/a.b", random_bytes(kSeed + 2, 4097));
  add("/empty", {});
  add("/a/deep/er/large", random_bytes(kSeed + 3, 3 * kMiB + 5));
  add("/a/deep/odd \xff\n\"name", random_bytes(kSeed + 4, 100));
  for (int i = 0; i < 300; ++i) add("/many/" + std::to_string(i), random_bytes(kSeed + 100, 10));

  Bytes sparse(4 * kMiB);
  const Bytes island = random_bytes(kSeed + 5, 10'000);
  std::ranges::copy(island, sparse.begin() + 1'000'000);
  std::ranges::copy(island, sparse.end() - 10'000);
  make_sparse_file(folder + "/sparse", sparse.size());
  const auto file = FileDescriptor::open(folder + "/sparse", O_WRONLY);
  write_at(file.get(), island, 1'000'000, "sparse");
  write_at(file.get(), island, sparse.size() - island.size(), "sparse");
  contents["/sparse"] = std::move(sparse);

  std::filesystem::create_symlink("a/x", folder + "/short-link");
  std::filesystem::create_symlink(std::string(100, 'l'), folder + "/long-link");
  std::filesystem::create_hard_link(folder + "/a-b", folder + "/z-hard-link");
  REQUIRE(::chmod((folder + "/a.b").c_str(), 04711) == 0);
  const timespec times[2] = {{1'000'000'000, 0}, {1'000'000'001, 234'000'000}};
  REQUIRE(::utimensat(AT_FDCWD, (folder + "/a.b").c_str(), times, 0) == 0);
  return contents;
}

void make_sparse_file(const std::string& path, std::uint64_t bytes) {
  FileDescriptor::open(path, O_WRONLY | O_CREAT | O_TRUNC);
  std::filesystem::resize_file(path, bytes);
}

void make_file_system(const std::string& path, const std::string& folder, std::uint64_t bytes,
                      const std::vector<std::string>& options) {
  make_sparse_file(path, bytes);
  std::vector<std::string> arguments{"mke2fs", "-q", "-F", "-L", "sample", "-d", folder};
  arguments.insert(arguments.end(), options.begin(), options.end());
  arguments.push_back(path);
  run(arguments);
}

void overwrite(const std::string& path, std::uint64_t offset, ByteView bytes) {
  const auto file = FileDescriptor::open(path, O_WRONLY);
  write_at(file.get(), bytes, offset, path);
}

void copy_into(const std::string& disk, const std::string& part, std::uint64_t offset) {
  overwrite(disk, offset, read_file(part));
}

void debugfs(const std::string& path, const std::string& request) {
  run({"debugfs", "-w", "-R", request, path});
}

void require_sane(const Layout& layout) {
  const auto require_inside = [](ByteRange outer, std::uint64_t offset, std::uint64_t length) {
    if (offset < outer.offset || length > outer.length || offset - outer.offset > outer.length - length) {
      FAIL("the range " << offset << " + " << length << " is outside");
    }
  };
  std::uint64_t covered = 0;
  for (const Volume& volume : layout.volumes) {
    REQUIRE(volume.range.offset >= covered);
    require_inside({0, layout.image_bytes}, volume.range.offset, volume.range.length);
    covered = volume.range.end();
    std::uint64_t free_to = volume.range.offset;
    for (const ByteRange& free : volume.free) {
      require_inside(volume.range, free.offset, free.length);
      if (free.offset < free_to) FAIL("free space is out of order");
      free_to = free.end();
    }
    std::string_view before;
    for (const FileEntry& entry : volume.files) {
      if (std::string_view(entry.path) <= before) FAIL(entry.path << " is out of order");
      before = entry.path;
      std::uint64_t written_to = 0;
      for (const FileExtent& extent : entry.extents) {
        require_inside(volume.range, extent.disk_offset, extent.length);
        require_inside({0, entry.size}, extent.file_offset, extent.length);
        if (extent.file_offset < written_to) FAIL("extents of " << entry.path << " are out of order");
        written_to = extent.file_offset + extent.length;
      }
    }
  }
}

Layout inspect_raw(const std::string& path, const InspectOptions& options, WarningKeeper& warnings) {
  SourceOptions raw;
  raw.format = "raw";
  const auto source = open_source(path, raw, warnings);
  Layout layout = inspect(*source, options, warnings);
  CHECK(layout.image_bytes == source->size());
  require_sane(layout);
  return layout;
}

Layout inspect_raw(const std::string& path, const InspectOptions& options) {
  WarningKeeper warnings;
  return inspect_raw(path, options, warnings);
}

const FileEntry* find_file(const Volume& volume, std::string_view path) {
  const auto found = std::ranges::find(volume.files, path, &FileEntry::path);
  return found == volume.files.end() ? nullptr : &*found;
}

Bytes content_of(const std::string& image, const FileEntry& entry) {
  const auto file = FileDescriptor::open(image, O_RDONLY);
  Bytes content(entry.size);
  for (const FileExtent& extent : entry.extents) {
    const auto part = ByteSpan(content).subspan(extent.file_offset, extent.length);
    REQUIRE(read_at(file.get(), part, extent.disk_offset, image) == part.size());
  }
  return content;
}

std::uint64_t total(const std::vector<ByteRange>& ranges) {
  std::uint64_t bytes = 0;
  for (const ByteRange& range : ranges) bytes += range.length;
  return bytes;
}

bool lies_in(const std::vector<ByteRange>& ranges, const FileExtent& extent) {
  return std::ranges::any_of(ranges, [&extent](const ByteRange& range) {
    return extent.disk_offset < range.end() && range.offset < extent.disk_offset + extent.length;
  });
}

void wipe_free_space(const std::string& path, const Volume& volume) {
  for (const ByteRange& free : volume.free) overwrite(path, free.offset, Bytes(free.length));
}

}  // namespace vmpack::test
