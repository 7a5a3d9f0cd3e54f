// SPDX-License-Identifier: Apache-2.0
// Disks that come wrapped in something, or with large sectors, go in and come back as the disk they are.
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

const std::string kDescriptor =
    "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1' "
    "xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1'>"
    "<References><File ovf:id='a' ovf:href='system.vmdk'/><File ovf:id='b' "
    "ovf:href='data.vmdk'/></References>"
    "<DiskSection><Disk ovf:fileRef='a'/>";

void make_ova(const SampleRepository& at, const std::string& ova, const std::string& descriptor,
              std::vector<std::string> members) {
  write_file(at / "machine.ovf", descriptor);
  members.insert(members.begin(), {"tar", "-cf", ova, "machine.ovf"});
  run_tool(members, at.folder());
}

OrderedJson volumes_of(const SampleRepository& repository, const std::string& reference) {
  return vmpack_json({"show", reference, "--repo", repository.path()})
      .at("manifest")
      .at("layout")
      .at("volumes");
}

}  // namespace

TEST_CASE("compressed images and OVAs come back as the disk inside, and are stored once") {
  const SampleRepository repository;
  const std::string raw = repository / "disk.img";
  make_disk_with_two_volumes(raw, 21);
  repository.require_round_trip(raw, raw);
  run_tool({"qemu-img", "convert", "-O", "qcow2", raw, repository / "disk.qcow2"});
  run_tool({"qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw,
            repository / "system.vmdk"});
  make_ova(repository, "machine.ova", kDescriptor + "</DiskSection></Envelope>", {"system.vmdk"});
  run_tool({"gzip", "-k", raw});
  run_tool({"zstd", "-q", "-k", raw});
  run_tool({"xz", "-1", "-k", repository / "disk.qcow2"});
  run_tool({"xz", "-1", "-k", repository / "machine.ova"});
  for (const std::string name :
       {"disk.img.gz", "disk.img.zst", "disk.qcow2.xz", "machine.ova", "machine.ova.xz"}) {
    INFO(name);
    repository.require_round_trip(repository / name, raw);
    CHECK(repository.ingest(repository / name, "again:" + name).at("objects_new") == 0);
    CHECK(volumes_of(repository, "again:" + name)[0].at("inspected") == true);
  }
  repository.require_intact();
}

TEST_CASE("a disk of an OVA with several is chosen by name") {
  const SampleRepository repository;
  for (const std::string name : {"system", "data"}) {
    make_mixed_disk(repository / (name + ".img"), 3 * kMiB, name.size());
    run_tool({"qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized",
              repository / (name + ".img"), repository / (name + ".vmdk")});
  }
  make_ova(repository, "machine.ova", kDescriptor + "<Disk ovf:fileRef='b'/></DiskSection></Envelope>",
           {"system.vmdk", "data.vmdk"});
  const std::string ova = repository / "machine.ova";
  require_one_line(repository.try_ingest(ova, "a:1"), 2,
                   {ova, "2 disks", "system.vmdk, data.vmdk", "--disk"});
  repository.require_round_trip(ova, repository / "system.img", {"--disk", "system.vmdk"});
  repository.require_round_trip(ova, repository / "data.img", {"--disk", "data.vmdk", "--force"});
  require_one_line(repository.try_ingest(repository / "data.img", "a:1", {"--disk", "data.vmdk"}), 2,
                   {"no OVA"});
}

TEST_CASE("a compressed image that is cut short or damaged stores nothing") {
  const SampleRepository repository;
  make_mixed_disk(repository / "disk.img", 3 * kMiB, 4);
  run_tool({"gzip", "-k", repository / "disk.img"});
  const std::string image = repository / "disk.img.gz";
  const Bytes good = read_file(image);
  write_file(image, ByteView(good).first(good.size() - 5));
  require_one_line(repository.try_ingest(image, "a:1"), 1, {"cannot decompress " + image, "gzip -t"});
  overwrite(image, 1000, random_bytes(1, 100));
  require_one_line(repository.try_ingest(image, "a:1"), 1, {"cannot decompress " + image});
  CHECK(vmpack_json({"list", "--repo", repository.path()}).at("references").empty());
}

TEST_CASE("a disk with sectors of 4096 bytes comes back, and its files are known") {
  const SampleRepository repository;
  make_sample_image(repository / "part", 16 * kMiB, 23, {"-t", "ext4", "-b", "4096"});
  const Bytes part = read_file(repository / "part");
  for (const std::string table : {"g\nn\n1\n256\n4351\nw\n", "o\nn\np\n1\n256\n4351\nw\n"}) {
    const std::string disk = repository / (table.starts_with("g") ? "gpt" : "mbr");
    make_sparse_file(disk, 256 * kMiB);
    run_tool({"fdisk", "-b", "4096", disk}, {}, table);
    overwrite(disk, 1 * kMiB, part);
    repository.require_round_trip(disk, disk);
    repository.ingest(disk, "sectors:" + table.substr(0, 1));
    const OrderedJson volumes = volumes_of(repository, "sectors:" + table.substr(0, 1));
    REQUIRE(volumes.size() == 1);
    CHECK(volumes[0].at("offset") == 1 * kMiB);
    CHECK(volumes[0].at("inspected") == true);
    CHECK(volumes[0].at("file_count") > 60);
  }
}

}  // namespace vmpack::test
