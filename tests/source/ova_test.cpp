// SPDX-License-Identifier: Apache-2.0
// A disk in an OVA is read where it lies. Whatever else the archive or its descriptor says is an error.
#include <fmt/core.h>
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/source/ova.hpp"
#include "libvmpack/source/source.hpp"
#include "tests/source/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

namespace fs = std::filesystem;
using test::disk_bytes;
using test::open_error;
using test::open_image;
using test::read_file;
using test::read_image;
using test::run_tool;
using test::TempDir;

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

/// <File> and <Disk> elements in what stands around them.
std::string ovf(const std::string& files, const std::string& disks) {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
         "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\" "
         "xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\">\n<References>" +
         files + "</References>\n<DiskSection><Info>Disks</Info>" + disks + "</DiskSection>\n</Envelope>\n";
}

std::string file_element(int id, const std::string& name, const std::string& more = {}) {
  return fmt::format("<File ovf:id=\"file{}\" ovf:href=\"{}\" {}/>", id, name, more);
}
std::string disk_element(int id, const std::string& more = {}) {
  return fmt::format("<Disk ovf:diskId=\"disk{0}\" ovf:fileRef=\"file{0}\" ovf:capacity=\"1\" {1}/>", id,
                     more);
}

/// Disks in several formats, and OVAs of them.
struct Sample {
  TempDir folder;
  Bytes disk = disk_bytes(3 * kMiB, 8);
  Bytes other = disk_bytes(2 * kMiB, 9);
  std::string ova = folder / "machine.ova";

  Sample() {
    test::write_sparse(folder / "disk.img", disk);
    convert("disk.img", "disk.vmdk", {"-O", "vmdk", "-o", "subformat=streamOptimized"});
    test::write_sparse(folder / "other.img", other);
    convert("other.img", "other.vmdk", {"-O", "vmdk", "-o", "subformat=streamOptimized"});
    test::write_file(folder / "cd.iso", std::string_view("no disk"));
  }

  void convert(const std::string& from, const std::string& to,
               const std::vector<std::string>& options) const {
    std::vector<std::string> command{"qemu-img", "convert", "-f", "raw"};
    command.insert(command.end(), options.begin(), options.end());
    command.insert(command.end(), {from, to});
    run_tool(command, folder.path());
  }

  void pack(const std::string& descriptor, const std::vector<std::string>& members,
            const std::string& format = "ustar") const {
    test::write_file(folder / "machine.ovf", descriptor);
    std::vector<std::string> command{"tar", "--format=" + format, "-cf", ova, "machine.ovf"};
    command.insert(command.end(), members.begin(), members.end());
    run_tool(command, folder.path());
  }

  [[nodiscard]] std::unique_ptr<Source> open_disk(const std::string& name) const {
    test::Warnings warnings;
    SourceOptions options;
    options.disk = name;
    return open_source(ova, options, warnings);
  }
};

const std::string kOneDisk = ovf(file_element(1, "disk.vmdk") + file_element(2, "cd.iso"), disk_element(1));

}  // namespace

TEST_CASE("the disk of an OVA is read, also of a compressed one and of one that is not called so") {
  const Sample sample;
  sample.pack(kOneDisk, {"cd.iso", "disk.vmdk"});
  const auto source = open_image(sample.ova);
  CHECK(read_image(*source) == sample.disk);
  CHECK(source->facts().format == "vmdk");
  CHECK(source->facts().location == sample.ova);
  CHECK(source->facts().backing_chain.empty());

  run_tool({"gzip", "-k", sample.ova});
  CHECK(read_image(*open_image(sample.ova + ".gz")) == sample.disk);
  fs::rename(sample.ova, sample.folder / "machine");
  CHECK(read_image(*open_image(sample.folder / "machine")) == sample.disk);
}

TEST_CASE("disks of every format are read in OVAs of every kind of tar") {
  const Sample sample;
  for (const auto& [name, options] : std::vector<std::pair<std::string, std::vector<std::string>>>{
           {"sparse.vmdk", {"-O", "vmdk"}},
           {"disk.qcow2", {"-O", "qcow2"}},
           {"small.qcow2", {"-O", "qcow2", "-c", "-o", "cluster_size=512"}},
           {"disk.vhd", {"-O", "vpc", "-o", "force_size=on"}},
           {"disk.vhdx", {"-O", "vhdx"}},
           {"disk.raw", {"-O", "raw"}},
           {std::string(150, 'n') + ".vdi", {"-O", "vdi"}}}) {
    sample.convert("disk.img", name, options);
    for (const std::string tar : {"ustar", "gnu", "posix"}) {
      if (tar == "ustar" && name.size() > 100) continue;
      INFO(name << " in " << tar);
      sample.pack(ovf(file_element(1, name), disk_element(1)), {"./" + name}, tar);
      CHECK(read_image(*open_image(sample.ova)) == sample.disk);
    }
  }
}

TEST_CASE("of several disks one must be chosen, and the error lists them") {
  const Sample sample;
  sample.pack(
      ovf(file_element(1, "disk.vmdk") + file_element(2, "other.vmdk"), disk_element(2) + disk_element(1)),
      {"disk.vmdk", "other.vmdk"});
  const Error error = open_error(sample.ova);
  CHECK(error.code() == ErrorCode::kInvalid);
  CHECK(contains(error.what(), "other.vmdk, disk.vmdk"));
  CHECK(contains(error.hint(), "--disk other.vmdk"));
  CHECK(read_image(*sample.open_disk("disk.vmdk")) == sample.disk);
  CHECK(read_image(*sample.open_disk("other.vmdk")) == sample.other);
  CHECK(test::error_of([&] { static_cast<void>(sample.open_disk("third.vmdk")); }).code() ==
        ErrorCode::kNotFound);
}

TEST_CASE("OVAs that lack something are errors that say what") {
  const Sample sample;
  const auto check = [&](ErrorCode code, std::string_view word) {
    const Error error = open_error(sample.ova);
    CHECK(error.code() == code);
    CHECK(contains(error.what(), word));
    CHECK(contains(error.what(), "machine.ova"));
  };
  sample.pack(kOneDisk, {"cd.iso"});
  check(ErrorCode::kDamaged, "lacks its disk disk.vmdk");
  test::write_file(sample.folder / "empty.vmdk", std::string_view());
  sample.pack(ovf(file_element(1, "empty.vmdk"), disk_element(1)), {"empty.vmdk"});
  check(ErrorCode::kDamaged, "lacks its disk empty.vmdk");
  sample.pack(ovf(file_element(1, "disk.vmdk"), {}), {"disk.vmdk"});
  check(ErrorCode::kDamaged, "names no disk");
  sample.pack("<Envelope><References>", {"disk.vmdk"});
  check(ErrorCode::kDamaged, "descriptor is damaged");
  sample.pack(ovf(file_element(1, "disk.vmdk", "ovf:compression=\"gzip\""), disk_element(1)), {"disk.vmdk"});
  check(ErrorCode::kUnsupported, "compressed once more");
  sample.pack(ovf(file_element(1, "disk.vmdk"), disk_element(1, "ovf:parentRef=\"disk0\"")), {"disk.vmdk"});
  check(ErrorCode::kUnsupported, "needs another disk");
  run_tool({"tar", "-cf", sample.ova, "disk.vmdk"}, sample.folder.path());
  check(ErrorCode::kDamaged, "no descriptor");

  sample.pack(kOneDisk, {"disk.vmdk"});
  const Bytes good = read_file(sample.ova);
  test::write_file(sample.ova, ByteView(good).first(good.size() / 2));
  check(ErrorCode::kDamaged, "cut short");
  Bytes damaged = good;
  const std::size_t second_header = 1024 + (kOneDisk.size() > kSectorBytes ? kSectorBytes : 0);
  damaged[second_header] ^= std::byte{1};
  test::write_file(sample.ova, damaged);
  check(ErrorCode::kDamaged, "header at byte");
  test::write_file(sample.ova, Bytes(100'000));
  check(ErrorCode::kInvalid, "does not begin like it");
}

TEST_CASE("a disk in an OVA must not reach for files") {
  const Sample sample;
  test::write_file(sample.folder / "secret", std::string_view("secret"));
  test::write_file(sample.folder / "names.vmdk",
                   std::string_view("# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n"
                                    "createType=\"monolithicFlat\"\nRW 8 FLAT \"secret\" 0\n"));
  sample.pack(ovf(file_element(1, "names.vmdk"), disk_element(1)), {"names.vmdk"});
  const Error by_extent = open_error(sample.ova);
  CHECK(by_extent.code() == ErrorCode::kUnsupported);
  CHECK(contains(by_extent.what(), "secret"));

  run_tool({"qemu-img", "create", "-q", "-f", "qcow2", "-b", "disk.img", "-F", "raw", "top.qcow2"},
           sample.folder.path());
  sample.pack(ovf(file_element(1, "top.qcow2"), disk_element(1)), {"top.qcow2"});
  CHECK(open_error(sample.ova).code() == ErrorCode::kUnsupported);

  // A name that leads out of the archive is a name in it, and nothing else.
  sample.pack(ovf(file_element(1, "../../etc/passwd"), disk_element(1)), {"disk.vmdk"});
  CHECK(contains(open_error(sample.ova).what(), "lacks its disk"));
}

TEST_CASE("a descriptor that would blow up is refused") {
  const Sample sample;
  std::string entities = "<!DOCTYPE x [<!ENTITY a0 \"aaaaaaaaaaaaaaaa\">";
  for (int i = 1; i < 12; ++i) {
    entities += fmt::format("<!ENTITY a{0} \"&a{1};&a{1};&a{1};&a{1};&a{1};&a{1};&a{1};&a{1};&a{1};&a{1};\">",
                            i, i - 1);
  }
  sample.pack(
      entities + "]><Envelope><References><File id=\"file1\" href=\"&a11;\"/></References></Envelope>",
      {"disk.vmdk"});
  CHECK(open_error(sample.ova).code() == ErrorCode::kDamaged);
}

}  // namespace vmpack
