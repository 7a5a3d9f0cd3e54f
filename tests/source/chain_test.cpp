// SPDX-License-Identifier: Apache-2.0
// An image reaches no file of the host that its owner did not put beside it.
#include "libvmpack/source/chain.hpp"

#include <sys/stat.h>

#include <filesystem>

#include <catch2/catch.hpp>

#include "libvmpack/source/changes.hpp"
#include "libvmpack/source/vmdk_descriptor.hpp"
#include "tests/source/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

namespace fs = std::filesystem;
using test::disk_bytes;
using test::open_error;
using test::open_image;
using test::read_image;
using test::run_tool;
using test::TempDir;

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

void check_refused(const Error& error, std::string_view named) {
  CHECK(error.code() == ErrorCode::kRefused);
  CHECK(contains(error.what(), named));
}

// A header that names any backing file at all, without qemu-img looking for it.
void make_overlay(const std::string& path, const std::string& backing, const std::string& format = "raw") {
  run_tool({"qemu-img", "create", "-f", "qcow2", "-u", "-F", format, "-b", backing, path, "1M"});
}

TEST_CASE("a backing file outside the image's folder is refused") {
  TempDir folder;
  for (const std::string target : {"/etc/shadow", "../../../../../../etc/shadow", "file:/etc/shadow"}) {
    INFO(target);
    make_overlay(folder / "disk.qcow2", target);
    const Error error = open_error(folder / "disk.qcow2");
    check_refused(error, "backing file");
    CHECK(contains(error.what(), "/etc/shadow, outside"));
    CHECK(contains(error.hint(), "--backing-root"));
  }
}

TEST_CASE("a refusal does not tell whether the file exists") {
  TempDir folder;
  make_overlay(folder / "disk.qcow2", "/etc/no-such-file");
  check_refused(open_error(folder / "disk.qcow2"), "/etc/no-such-file, outside");
}

TEST_CASE("a backing file that leads outside by a symbolic link is refused") {
  TempDir folder;
  fs::create_symlink("/etc/shadow", folder / "base.raw");
  make_overlay(folder / "disk.qcow2", "base.raw");
  check_refused(open_error(folder / "disk.qcow2"), "/etc/shadow, outside");
  fs::create_directory_symlink("/etc", folder / "folder");
  make_overlay(folder / "disk.qcow2", "folder/shadow");
  check_refused(open_error(folder / "disk.qcow2"), "/etc/shadow, outside");
}

TEST_CASE("a backing file of a backing file is held to the same rule") {
  TempDir folder;
  make_overlay(folder / "middle.qcow2", "/etc/shadow");
  make_overlay(folder / "disk.qcow2", "middle.qcow2", "qcow2");
  const Error error = open_error(folder / "disk.qcow2");
  check_refused(error, "middle.qcow2 names the backing file /etc/shadow");
}

TEST_CASE("a data file outside the image's folder is refused") {
  TempDir folder;
  run_tool(
      {"qemu-img", "create", "-f", "qcow2", "-o", "data_file=data.raw,data_file_raw=on", "disk.qcow2", "1M"},
      folder.path());
  fs::remove(folder / "data.raw");
  CHECK(open_error(folder / "disk.qcow2").code() == ErrorCode::kNotFound);
  fs::create_symlink("/etc/shadow", folder / "data.raw");
  check_refused(open_error(folder / "disk.qcow2"), "data file /etc/shadow, outside");
}

TEST_CASE("an extent of a vmdk outside the image's folder is refused") {
  TempDir folder;
  run_tool({"qemu-img", "create", "-f", "vmdk", "-o", "subformat=monolithicFlat", "disk.vmdk", "1M"},
           folder.path());
  std::string descriptor(as_text(test::read_file(folder / "disk.vmdk")));
  const std::string_view extent = "disk-flat.vmdk";
  for (const std::string target : {"/etc/shadow", "../../../../../../etc/shadow"}) {
    std::string evil = descriptor;
    evil.replace(evil.find(extent), extent.size(), target);
    test::write_file(folder / "evil.vmdk", evil);
    check_refused(open_error(folder / "evil.vmdk"), "extent /etc/shadow, outside");
  }
  fs::remove(folder / "disk-flat.vmdk");
  CHECK(open_error(folder / "disk.vmdk").code() == ErrorCode::kNotFound);
  fs::create_symlink("/etc/shadow", folder / "disk-flat.vmdk");
  check_refused(open_error(folder / "disk.vmdk"), "extent /etc/shadow, outside");
}

TEST_CASE("an extent of a vmdk that is cut short is damage, not zeros") {
  TempDir folder;
  run_tool({"qemu-img", "create", "-f", "vmdk", "-o", "subformat=monolithicFlat", "disk.vmdk", "1M"},
           folder.path());
  fs::resize_file(folder / "disk-flat.vmdk", 512 * kKiB);
  CHECK(open_error(folder / "disk.vmdk").code() == ErrorCode::kDamaged);
}

TEST_CASE("a sparse extent of a vmdk that is cut short is damage too") {
  TempDir folder;
  test::write_file(folder / "disk.raw", disk_bytes(2 * kMiB, 3));
  run_tool({"qemu-img", "convert", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse", "-f", "raw",
            "disk.raw", "disk.vmdk"},
           folder.path());
  CHECK(open_image(folder / "disk.vmdk")->facts().backing_chain.size() == 1);
  fs::resize_file(folder / "disk-s001.vmdk", fs::file_size(folder / "disk-s001.vmdk") - 100'000);
  const Error error = open_error(folder / "disk.vmdk");
  CHECK(error.code() == ErrorCode::kDamaged);
  CHECK(contains(error.what(), "disk-s001.vmdk is cut short"));
}

TEST_CASE("what is no file is refused as a backing file") {
  TempDir folder;
  for (const std::string target :
       {R"(json:{"driver":"file","filename":"/etc/shadow"})", "nbd://localhost/secret",
        "http://localhost/secret", "ssh:host", "fat:rw:/etc"}) {
    INFO(target);
    make_overlay(folder / "disk.qcow2", target);
    check_refused(open_error(folder / "disk.qcow2"), "which is not a file");
  }
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  make_overlay(folder / "disk.qcow2", "pipe");
  check_refused(open_error(folder / "disk.qcow2"), "neither a file nor a block device");
  make_overlay(folder / "disk.qcow2", ".");
  CHECK(open_error(folder / "disk.qcow2").code() == ErrorCode::kRefused);
}

TEST_CASE("a backing root that the user names allows what lies below it, and no more") {
  TempDir folder;
  fs::create_directory(folder / "images");
  fs::create_directory(folder / "bases");
  const Bytes disk = disk_bytes(kMiB, 1);
  test::write_file(folder / "bases/base.raw", disk);
  make_overlay(folder / "images/disk.qcow2", "../bases/base.raw");
  check_refused(open_error(folder / "images/disk.qcow2"), "bases/base.raw, outside");
  CHECK(read_image(*open_image(folder / "images/disk.qcow2", {}, folder / "bases")) == disk);
  CHECK(read_image(*open_image(folder / "images/disk.qcow2", {}, folder.path())) == disk);
  CHECK(read_image(*open_image(folder / "images/disk.qcow2", {}, "/")) == disk);
  // A folder whose name merely starts the same way is another folder.
  fs::create_directory(folder / "base");
  check_refused(open_error(folder / "images/disk.qcow2", {}, folder / "base"), "outside");
  CHECK(open_error(folder / "images/disk.qcow2", {}, folder / "nowhere").code() == ErrorCode::kNotFound);
}

TEST_CASE("an image given by a symbolic link is read from the folder in which it lies") {
  TempDir folder;
  fs::create_directory(folder / "images");
  fs::create_directory(folder / "links");
  const Bytes disk = disk_bytes(kMiB, 2);
  test::write_file(folder / "images/base.raw", disk);
  make_overlay(folder / "images/disk.qcow2", "base.raw");
  fs::create_symlink(folder / "images/disk.qcow2", folder / "links/current.qcow2");
  CHECK(read_image(*open_image(folder / "links/current.qcow2")) == disk);
}

TEST_CASE("a missing backing file is named together with the image that needs it") {
  TempDir folder;
  make_overlay(folder / "disk.qcow2", "gone.qcow2", "qcow2");
  const Error error = open_error(folder / "disk.qcow2");
  CHECK(error.code() == ErrorCode::kNotFound);
  CHECK(contains(error.what(), "disk.qcow2 names the backing file gone.qcow2"));
}

TEST_CASE("a chain that leads back to itself, or too deep, is an error") {
  TempDir folder;
  make_overlay(folder / "a.qcow2", "b.qcow2", "qcow2");
  make_overlay(folder / "b.qcow2", "a.qcow2", "qcow2");
  CHECK(open_error(folder / "a.qcow2").code() == ErrorCode::kInvalid);
  make_overlay(folder / "self.qcow2", "self.qcow2", "qcow2");
  CHECK(open_error(folder / "self.qcow2").code() == ErrorCode::kInvalid);

  const auto name = [](std::size_t i) { return "layer-" + std::to_string(100 + i); };
  make_overlay(folder / "layer", name(1), "qcow2");
  const std::string layer(as_text(test::read_file(folder / "layer")));
  for (std::size_t i = 0; i <= kChainDepthMax; ++i) {
    std::string next = layer;
    next.replace(next.find(name(1)), name(1).size(), name(i + 1));
    test::write_file(folder / name(i), next);
  }
  CHECK(open_error(folder / name(0), "qcow2").code() == ErrorCode::kLimit);
}

TEST_CASE("a raw disk in which a guest wrote a header of qcow2 reaches no other file") {
  TempDir folder;
  test::write_file(folder / "secret.raw", std::string_view("another guest's disk"));
  make_overlay(folder / "header.qcow2", "secret.raw");
  // The same bytes under the names that raw disks have.
  for (const std::string name : {"disk.raw", "disk.img", "disk"}) {
    INFO(name);
    fs::copy_file(folder / "header.qcow2", folder / name, fs::copy_options::overwrite_existing);
    const Error error = open_error(folder / name);
    CHECK(error.code() == ErrorCode::kInvalid);
    CHECK(contains(error.hint(), "--format qcow2"));
    CHECK(contains(error.hint(), "--format raw"));
    CHECK(read_image(*open_image(folder / name, "raw")).size() ==
          round_up(fs::file_size(folder / name), kSectorBytes));
    CHECK(open_image(folder / name, "qcow2")->size() == kMiB);
  }
}

TEST_CASE("a qcow2 image that stands for itself needs no telling name") {
  TempDir folder;
  run_tool({"qemu-img", "create", "-f", "qcow2", folder / "cloud.img", "1M"});
  CHECK(open_image(folder / "cloud.img")->facts().format == "qcow2");
  fs::rename(folder / "cloud.img", folder / "cloud.raw");
  CHECK(open_error(folder / "cloud.raw").code() == ErrorCode::kInvalid);
}

TEST_CASE("a backing file without a format in the header is held to the rule for images") {
  TempDir folder;
  test::write_file(folder / "secret.raw", std::string_view("another guest's disk"));
  make_overlay(folder / "base.img", "secret.raw");
  make_overlay(folder / "disk.qcow2", "base.img");
  test::forget_backing_format(folder / "disk.qcow2");
  const Error error = open_error(folder / "disk.qcow2");
  CHECK(error.code() == ErrorCode::kInvalid);
  CHECK(contains(error.what(), "base.img"));
}

TEST_CASE("names with odd characters in them are shown without them") {
  TempDir folder;
  make_overlay(folder / "disk.qcow2", "gone\033[31m.raw");
  const Error error = open_error(folder / "disk.qcow2");
  CHECK(error.code() == ErrorCode::kNotFound);
  CHECK_FALSE(contains(error.what(), "\033"));
}

TEST_CASE("an encrypted image is unsupported rather than nonsense") {
  TempDir folder;
  run_tool({"qemu-img", "create", "-f", "qcow2", folder / "disk.qcow2", "1M"});
  Bytes image = test::read_file(folder / "disk.qcow2");
  image[35] = std::byte{1};  // the header's crypt_method
  test::write_file(folder / "disk.qcow2", image);
  CHECK(open_error(folder / "disk.qcow2").code() == ErrorCode::kUnsupported);
}

TEST_CASE("extent lines of a vmdk descriptor are read as QEMU reads them") {
  const auto extents = parse_vmdk_extents(
      "# Disk DescriptorFile\nversion=1\nRW 4192256 SPARSE \"disk-s001.vmdk\"\r\n"
      "  RDONLY 63 FLAT \"a name with spaces.vmdk\" 2\nRW 10 ZERO\nRW x SPARSE \"no\"\nRW 1 FLAT \"open\n"
      "NOACCESS 18446744073709551615 VMFS \"big\" 18446744073709551615",
      "x");
  REQUIRE(extents.size() == 3);
  CHECK(extents[0].file == "disk-s001.vmdk");
  CHECK(extents[0].bytes_at_least == 0);
  CHECK(extents[1].file == "a name with spaces.vmdk");
  CHECK(extents[1].bytes_at_least == 65 * kSectorBytes);
  CHECK(extents[2].bytes_at_least == 0);
  std::string many;
  for (std::size_t i = 0; i <= kVmdkExtentsMax; ++i) many += "RW 1 SPARSE \"x\"\n";
  CHECK_THROWS_AS(parse_vmdk_extents(many, "x"), Error);
}

TEST_CASE("an overlay alone needs no base, and tells what was written, zeroed and discarded") {
  TempDir folder;
  test::Warnings warnings;
  test::write_sparse(folder / "base.raw", disk_bytes(kMiB, 1));
  make_overlay(folder / "disk.qcow2", "base.raw");
  run_tool({"qemu-io", "-f", "qcow2", "-c", "write -P 1 512k 64k", "-c", "write -z 64k 64k", "-c",
            "discard 896k 64k", folder / "disk.qcow2"});
  fs::remove(folder / "base.raw");
  const Changes changes = open_overlay(folder / "disk.qcow2", {}, warnings);
  CHECK(changes.base == "base.raw");
  CHECK(changes.ranges ==
        std::vector<ByteRange>{{64 * kKiB, 64 * kKiB}, {512 * kKiB, 64 * kKiB}, {896 * kKiB, 64 * kKiB}});
  CHECK(changes.source->data_ranges(0, kMiB) == std::vector<ByteRange>{{512 * kKiB, 64 * kKiB}});
}

TEST_CASE("an overlay alone reaches no data file outside its folder") {
  TempDir folder;
  test::Warnings warnings;
  fs::create_directory(folder / "inside");
  run_tool({"qemu-img", "create", "-f", "qcow2", "-u", "-F", "raw", "-b", "base.raw", "-o",
            "data_file=" + (folder / "data.raw"), folder / "inside/disk.qcow2", "1M"});
  try {
    (void)open_overlay(folder / "inside/disk.qcow2", {}, warnings);
    FAIL("it was opened");
  } catch (const Error& error) {
    check_refused(error, "data.raw");
  }
}

}  // namespace
}  // namespace vmpack
