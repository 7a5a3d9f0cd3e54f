// SPDX-License-Identifier: Apache-2.0
// What is believed of a file's name and its first bytes.
#include "libvmpack/source/format.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "tests/source/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

namespace fs = std::filesystem;
using test::error_of;

// Real headers, made once.
struct Made {
  Bytes bytes;

  explicit Made(const std::string& format) {
    test::TempDir folder;
    test::run_tool({"qemu-img", "create", "-f", format, folder / "image", "1M"});
    bytes = test::read_file(folder / "image");
  }
};

DetectedFormat detect(const std::string& name, ByteView bytes) {
  const ByteView head = bytes.first(std::min(bytes.size(), kFormatHeadBytes));
  const ByteView tail = bytes.last(std::min(bytes.size(), kFormatTailBytes));
  return detect_format(name, head, tail, bytes.size());
}

Bytes bytes_of(std::string_view text) { return {as_byte_view(text).begin(), as_byte_view(text).end()}; }

void set_big(Bytes& bytes, std::size_t at, std::uint64_t value, std::size_t width) {
  for (std::size_t i = 0; i < width; ++i)
    bytes[at + i] = static_cast<std::byte>(value >> (8 * (width - 1 - i)));
}

TEST_CASE("a format is detected by its header, and confirmed by a name that says the same") {
  for (const auto& [format, extension] : std::vector<std::pair<std::string, std::string>>{{"qcow2", ".qcow2"},
                                                                                          {"vmdk", ".vmdk"},
                                                                                          {"vdi", ".vdi"},
                                                                                          {"vhdx", ".VHDX"},
                                                                                          {"vpc", ".vhd"},
                                                                                          {"qed", ".qed"}}) {
    INFO(format);
    const Made image(format);
    const DetectedFormat named = detect("image" + extension, image.bytes);
    CHECK(named.name == format);
    CHECK(named.confirmed_by_name);
    for (const std::string name : {"image", "image.img", "image.snapshot1"}) {
      CHECK(detect(name, image.bytes).name == format);
      CHECK_FALSE(detect(name, image.bytes).confirmed_by_name);
    }
    // Named like something else: nobody knows which of the two is meant.
    for (const std::string name : {"image.raw", "image.iso", format == "vdi" ? "image.qcow2" : "image.vdi"}) {
      CHECK(error_of([&] { static_cast<void>(detect(name, image.bytes)); }).code() == ErrorCode::kInvalid);
    }
  }
}

TEST_CASE("what looks like nothing is raw, unless its name says otherwise") {
  const Bytes zeros(kMiB);
  for (const std::string name : {"disk", "disk.raw", "disk.img", "disk.iso", "disk.2026-11-24"}) {
    CHECK(detect(name, zeros).name == "raw");
    CHECK(detect(name, {}).name == "raw");
  }
  for (const std::string name : {"disk.qcow2", "disk.vmdk", "disk.vdi", "disk.vhdx", "disk.vhd"}) {
    const Error error = error_of([&] { static_cast<void>(detect(name, zeros)); });
    CHECK(error.code() == ErrorCode::kInvalid);
    CHECK(error.hint().find("--format raw") != std::string::npos);
  }
}

TEST_CASE("a header that cannot be right is damage, and no reason to take the file for raw") {
  const Made good("qcow2");
  const auto broken = [&](std::size_t at, std::uint64_t value, std::size_t width) {
    Bytes bytes = good.bytes;
    set_big(bytes, at, value, width);
    const Error error = error_of([&] { static_cast<void>(detect("disk.img", bytes)); });
    CHECK(error.hint().find("--format raw") != std::string::npos);
    CHECK(error_of([&] { static_cast<void>(detect("disk.qcow2", bytes)); }).code() == error.code());
    return error.code();
  };
  CHECK(broken(4, 0, 4) == ErrorCode::kDamaged);                   // version
  CHECK(broken(20, 40, 4) == ErrorCode::kDamaged);                 // cluster bits
  CHECK(broken(24, ~0ULL, 8) == ErrorCode::kDamaged);              // size
  CHECK(broken(36, 0xffffffff, 4) == ErrorCode::kDamaged);         // entries of the first table
  CHECK(broken(40, 1ULL << 40, 8) == ErrorCode::kDamaged);         // where that lies
  CHECK(broken(48, 12345, 8) == ErrorCode::kDamaged);              // reference counts
  CHECK(broken(100, 1U << 30, 4) == ErrorCode::kDamaged);          // header length
  CHECK(broken(8, 0xffffffffffffff00, 8) == ErrorCode::kDamaged);  // name of the backing file
  for (const std::size_t size : {4U, 50U, 103U, 200U}) {
    CHECK(error_of([&] { static_cast<void>(detect("disk.img", ByteView(good.bytes).first(size))); }).code() ==
          ErrorCode::kDamaged);
  }
}

TEST_CASE("a later version of qcow2 is refused by number") {
  Made image("qcow2");
  set_big(image.bytes, 4, 4, 4);
  const Error error = error_of([&] { static_cast<void>(detect("disk.qcow2", image.bytes)); });
  CHECK(error.code() == ErrorCode::kUnsupported);
  CHECK(std::string(error.what()).find("version 4") != std::string::npos);
}

TEST_CASE("a fixed VHD is believed only where the name asks for one") {
  test::TempDir folder;
  test::run_tool({"qemu-img", "create", "-f", "vpc", "-o", "subformat=fixed", folder / "disk.vhd", "1M"});
  const Bytes bytes = test::read_file(folder / "disk.vhd");
  CHECK(detect("disk.vhd", bytes).name == "vpc");
  CHECK(detect("disk.img", bytes).name == "raw");
}

TEST_CASE("a vmdk descriptor is known by its first line") {
  const std::string_view text = "# Disk DescriptorFile\nversion=1\n";
  CHECK(detect("disk.vmdk", as_byte_view(text)).confirmed_by_name);
  CHECK_FALSE(detect("disk", as_byte_view(text)).confirmed_by_name);
  CHECK(error_of([&] { static_cast<void>(detect("disk.raw", as_byte_view(text))); }).code() ==
        ErrorCode::kInvalid);
}

TEST_CASE("what wraps an image is known by its first bytes, and by names that say the same") {
  using namespace std::string_view_literals;
  Bytes ova(kSectorBytes);
  std::ranges::copy(as_byte_view("machine.ovf"), ova.begin());
  std::ranges::copy(as_byte_view("ustar"), ova.begin() + 257);
  const std::vector<std::tuple<std::string, std::string, Bytes>> all{
      {"gzip", ".gz", bytes_of("\x1f\x8b\x08\x00 "sv)},
      {"xz", ".xz",
       bytes_of("\xfd"
                "7zXZ\0 "sv)},
      {"zstd", ".zst", bytes_of("\x28\xb5\x2f\xfd "sv)},
      {"bzip2", ".bz2", bytes_of("BZh9\x31\x41\x59\x26\x53\x59 "sv)},
      {"ova", ".ova", ova}};
  for (const auto& [name, extension, bytes] : all) {
    INFO(name);
    CHECK(detect("disk" + extension, bytes).name == name);
    CHECK(detect("disk" + extension, bytes).confirmed_by_name);
    CHECK(detect("disk", bytes).name == name);
    CHECK_FALSE(detect("disk", bytes).confirmed_by_name);
    CHECK(error_of([&] { static_cast<void>(detect("disk.raw", bytes)); }).code() == ErrorCode::kInvalid);
    CHECK(error_of([&, &end = extension] { static_cast<void>(detect("disk" + end, Bytes(4096))); }).code() ==
          ErrorCode::kInvalid);
  }
  // Nearly.
  for (const std::string_view text : {"\x1f\x8b\x08\xff "sv,
                                      "\xfd"
                                      "7zXZx "sv,
                                      "BZh9 "sv, "\x50\x2a\x4d\x18 "sv}) {
    CHECK(detect("disk", as_byte_view(text)).name == "raw");
  }
  CHECK(detect("disk.zst", as_byte_view("\x50\x2a\x4d\x18 "sv)).name == "zstd");
}

TEST_CASE("archives are told from disks") {
  CHECK(archive_kind(as_byte_view("PK\x03\x04")) == "zip");
  CHECK(archive_kind(Bytes(512)).empty());
  CHECK(archive_kind({}).empty());
}

}  // namespace
}  // namespace vmpack
