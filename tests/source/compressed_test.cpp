// SPDX-License-Identifier: Apache-2.0
// Compressed image files read as the disk inside them; those that are cut short, damaged or too large say so.
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "libvmpack/source/decompress.hpp"
#include "libvmpack/source/source.hpp"
#include "libvmpack/source/temp_image.hpp"
#include "tests/source/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

namespace fs = std::filesystem;
using test::disk_bytes;
using test::error_of;
using test::open_error;
using test::open_image;
using test::read_file;
using test::read_image;
using test::run_tool;
using test::TempDir;
using test::write_sparse;

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

struct Kind {
  std::string program;
  std::string extension;
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{{"gzip", ".gz"}, {"xz", ".xz"}, {"zstd", ".zst"}, {"bzip2", ".bz2"}};
  return all;
}

/// Makes file.gz or the like beside `file`, which stays; returns its path.
std::string compress(const std::string& file, const Kind& kind) {
  run_tool({kind.program, "-q", "-k", "-f", file});
  return file + kind.extension;
}

/// Sets TMPDIR for as long as it lives.
class TempFolder {
 public:
  explicit TempFolder(const std::string& path) {
    if (const char* set = std::getenv("TMPDIR")) before_ = set;
    ::setenv("TMPDIR", path.c_str(), 1);
  }
  ~TempFolder() { before_.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", before_.c_str(), 1); }
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

 private:
  std::string before_;
};

/// A raw disk and a qcow2 image of it.
struct Sample {
  TempDir folder;
  Bytes disk = disk_bytes(1 * kMiB + 3 * kSectorBytes, 5);
  std::string raw = folder / "disk.img";
  std::string qcow2 = folder / "disk.qcow2";

  Sample() {
    write_sparse(raw, disk);
    run_tool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, qcow2});
  }
};

void append_to(const std::string& path, ByteView more) {
  Bytes bytes = read_file(path);
  append(bytes, more);
  test::write_file(path, bytes);
}

}  // namespace

TEST_CASE("a compressed image reads as the disk inside it, whatever format that has") {
  const Sample sample;
  fs::create_directory(sample.folder / "tmp");
  const TempFolder temp(sample.folder / "tmp");
  for (const Kind& kind : kinds()) {
    for (const auto& [file, format] : {std::pair(sample.raw, "raw"), std::pair(sample.qcow2, "qcow2")}) {
      const std::string image = compress(file, kind);
      INFO(image);
      const auto source = open_image(image);
      CHECK(read_image(*source) == sample.disk);
      CHECK(source->facts().format == format);
      CHECK(source->facts().location == image);
      CHECK(source->facts().backing_chain.empty());
      CHECK((source->raw_descriptor() >= 0) == (format == std::string("raw")));
      // Another process reads the same, by way of a server: the temporary file has no name.
      CHECK(source->attachment().raw_path.empty());
      const auto served = open_image("nbd+unix:///?socket=" + source->attachment().nbd_socket);
      CHECK(read_image(*served) == sample.disk);
    }
  }
  CHECK(test::files_below(sample.folder / "tmp").empty());
}

TEST_CASE("a compressed image of any size is read, also an empty one") {
  const TempDir folder;
  for (const std::size_t size : {0, 1, 1000, 4097}) {
    Bytes disk = test::random_bytes(size, size);
    test::write_file(folder / "disk.img", disk);
    const auto source = open_image(compress(folder / "disk.img", kinds()[0]));
    disk.resize(round_up(size, kSectorBytes));
    CHECK(read_image(*source) == disk);
  }
}

TEST_CASE("a compressed file whose name does not say so is known by its contents") {
  const Sample sample;
  for (const Kind& kind : kinds()) {
    fs::rename(compress(sample.qcow2, kind), sample.folder / "cloud.img");
    const auto source = open_image(sample.folder / "cloud.img");
    CHECK(source->facts().format == "qcow2");
    CHECK(read_image(*source) == sample.disk);
  }
}

TEST_CASE("--format is the format inside a compressed file, except that raw takes every file as it is") {
  const Sample sample;
  const std::string image = compress(sample.qcow2, kinds()[1]);
  CHECK(read_image(*open_image(image, "qcow2")) == sample.disk);
  CHECK(contains(open_error(image, "vmdk").what(), image));
  Bytes file = read_file(image);
  file.resize(round_up(file.size(), kSectorBytes));
  CHECK(read_image(*open_image(image, "raw")) == file);
}

TEST_CASE("all streams of a compressed file are decompressed") {
  const Sample sample;
  for (const Kind& kind : kinds()) {
    INFO(kind.program);
    const std::string image = compress(sample.raw, kind);
    append_to(image, read_file(image));
    Bytes twice = sample.disk;
    append(twice, sample.disk);
    CHECK(read_image(*open_image(image)) == twice);
  }
  run_tool({"xz", "-k", "-f", "-T2", "--block-size=256KiB", sample.raw});
  CHECK(read_image(*open_image(sample.raw + ".xz")) == sample.disk);
}

TEST_CASE(
    "a compressed file that is cut short, damaged or followed by something else is an error that names it") {
  const Sample sample;
  for (const Kind& kind : kinds()) {
    INFO(kind.program);
    const std::string image = compress(sample.raw, kind);
    const Bytes good = read_file(image);
    const auto check = [&](const Bytes& bytes) {
      test::write_file(image, bytes);
      const Error error = open_error(image);
      CHECK(error.code() == ErrorCode::kDamaged);
      CHECK(contains(error.what(), image));
      CHECK(contains(error.hint(), kind.program));
    };
    for (const std::size_t left : {good.size() - 1, good.size() / 2, std::size_t{20}}) {
      check(Bytes(good.begin(), good.begin() + static_cast<std::ptrdiff_t>(left)));
    }
    Bytes damaged = good;
    std::ranges::copy(test::random_bytes(1, 64),
                      damaged.begin() + static_cast<std::ptrdiff_t>(good.size() / 2));
    check(damaged);
    Bytes longer = good;
    append(longer, as_byte_view("and what follows"));
    check(longer);
  }
}

TEST_CASE("names and contents of compressed files must not contradict each other") {
  const Sample sample;
  const Bytes compressed = read_file(compress(sample.raw, kinds()[0]));
  for (const std::string name : {"disk.raw", "disk.iso", "disk.qcow2", "disk.xz", "disk.ova"}) {
    test::write_file(sample.folder / name, compressed);
    const Error error = open_error(sample.folder / name);
    CHECK(error.code() == ErrorCode::kInvalid);
    CHECK(contains(error.hint(), "--format raw"));
  }
  // Inside of it as well, where --format raw would be about the outside.
  fs::copy_file(sample.qcow2, sample.folder / "lies.raw");
  const Error inside = open_error(compress(sample.folder / "lies.raw", kinds()[0]));
  CHECK(inside.code() == ErrorCode::kInvalid);
  CHECK(contains(inside.hint(), "unpack it"));
  test::write_file(sample.folder / "not.gz", sample.disk);
  CHECK(open_error(sample.folder / "not.gz").code() == ErrorCode::kInvalid);
}

TEST_CASE("errors about what is inside a compressed file name it and no temporary file") {
  const Sample sample;
  fs::create_directory(sample.folder / "tmp");
  const TempFolder temp(sample.folder / "tmp");
  Bytes qcow2 = read_file(sample.qcow2);
  qcow2.resize(qcow2.size() / 2);
  test::write_file(sample.folder / "cut.qcow2", qcow2);
  const std::string image = compress(sample.folder / "cut.qcow2", kinds()[2]);
  const Error error = open_error(image);
  CHECK(error.code() == ErrorCode::kDamaged);
  CHECK(contains(error.what(), "cut.qcow2 in " + image));
  CHECK_FALSE(contains(std::string(error.what()) + error.hint(), sample.folder / "tmp"));
}

TEST_CASE("a compressed image that needs another file is refused by that file's name") {
  const Sample sample;
  run_tool({"qemu-img", "create", "-q", "-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", "top.qcow2"},
           sample.folder.path());
  const Error error = open_error(compress(sample.folder / "top.qcow2", kinds()[1]));
  CHECK(error.code() == ErrorCode::kUnsupported);
  CHECK(contains(error.what(), "disk.qcow2"));
  CHECK(contains(error.hint(), "unpack"));
}

TEST_CASE("a file that is compressed twice is refused") {
  const Sample sample;
  const Error error = open_error(compress(compress(sample.raw, kinds()[0]), kinds()[1]));
  CHECK(error.code() == ErrorCode::kUnsupported);
}

TEST_CASE("what is decompressed takes no room for zeros") {
  const TempDir folder;
  TempImage image("to test");
  const Bytes noise = test::random_bytes(3, 10'000);
  image.append(noise);
  for (int i = 0; i < 64; ++i) image.append(Bytes(kMiB));
  image.append(noise);
  image.finish();
  const NamedTempImage named(image, "disk.img");
  Bytes expected = noise;
  expected.resize(noise.size() + 64 * kMiB);
  append(expected, noise);
  CHECK(read_file(named.path()) == expected);
  struct stat facts{};
  REQUIRE(::stat(named.path().c_str(), &facts) == 0);
  CHECK(facts.st_blocks * 512 <= 64 * 1024);
}

TEST_CASE("a temporary image has a name only while it is asked for one") {
  const TempDir folder;
  const TempFolder temp(folder.path());
  TempImage image("to test");
  image.append(Bytes(1, std::byte{1}));
  image.finish();
  CHECK(test::files_below(folder.path()).empty());
  {
    const NamedTempImage named(image, "disk.img");
    CHECK(fs::path(named.path()).filename() == "disk.img");
    CHECK(test::files_below(folder.path()).size() == 1);
  }
  CHECK(fs::is_empty(folder.path()));
}

TEST_CASE("a decompression bomb ends at the limit") {
  TempImage image("to decompress bomb.xz", 10 * kMiB);
  for (int i = 0; i < 10; ++i) image.append(Bytes(kMiB));
  const Error error = error_of([&] { image.append(Bytes(1)); });
  CHECK(error.code() == ErrorCode::kLimit);
  CHECK(contains(error.what(), "bomb.xz"));
}

TEST_CASE("a full disk is an error that says how to choose another") {
  const TempDir folder;
  if (::geteuid() != 0 || ::mount("test", folder.path().c_str(), "tmpfs", 0, "size=256k") != 0) {
    WARN("no small file system can be mounted here");
    return;
  }
  const Sample sample;
  const std::string image = compress(sample.raw, kinds()[0]);
  {
    const TempFolder temp(folder.path());
    const Error error = open_error(image);
    CHECK(error.code() == ErrorCode::kNoSpace);
    CHECK(contains(error.what(), image));
    CHECK(contains(error.hint(), "TMPDIR"));
    CHECK(fs::is_empty(folder.path()));
  }
  ::umount(folder.path().c_str());
}

}  // namespace vmpack
