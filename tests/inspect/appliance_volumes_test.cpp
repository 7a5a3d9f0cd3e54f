// SPDX-License-Identifier: Apache-2.0
// What the appliance may tell about volumes, and what it is not believed.
#include "libvmpack/inspect/appliance_volumes.hpp"

#include <fcntl.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/inspect/helper/lv_attributes.hpp"
#include "libvmpack/inspect/layout_stream.hpp"
#include "tests/inspect/sample_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

using appliance_wire::VolumesReport;

constexpr std::uint64_t kImage = 128 * kMiB;
constexpr ByteRange kXfs{kMiB, 16 * kMiB};
constexpr ByteRange kLvm{32 * kMiB, 64 * kMiB};
constexpr std::uint64_t kLvmData = kLvm.offset + kMiB;

/// An ext4 partition that is known, an XFS and an LVM one that are not.
Layout sample_layout() {
  Layout layout;
  layout.image_bytes = kImage;
  layout.volumes.push_back({.range = kXfs, .number = 1, .type = "xfs", .partition_type = "a"});
  layout.volumes.push_back({.range = {20 * kMiB, 8 * kMiB}, .number = 2, .type = "ext4", .inspected = true});
  layout.volumes.push_back({.range = kLvm, .number = 5, .type = "LVM2_member"});
  return layout;
}

FileEntry file_at(std::string path, std::uint64_t disk_offset, std::uint64_t bytes) {
  FileEntry entry;
  entry.path = std::move(path);
  entry.type = FileType::kRegular;
  entry.size = bytes;
  entry.extents = {{0, disk_offset, bytes}};
  return entry;
}

/// Two pieces, the second before the first on the disk.
const std::vector<ByteRange> kPieces = {{kLvmData + 8 * kMiB, 4 * kMiB}, {kLvmData, 4 * kMiB}};

struct Report {
  Bytes bytes;
  VolumesReport volumes;

  Report() {
    volumes.logical_volumes = {{"group/root", "ext4", ""}};
    volumes.physical_volumes = {{5, kMiB, 60 * kMiB, 8 * kMiB}};
  }
  void stream(const std::function<void(LayoutStreamWriter&)>& write) {
    LayoutStreamWriter writer([this](ByteView more) { append(bytes, more); });
    write(writer);
  }
  void volume(const std::string& type, const std::vector<ByteRange>& pieces, const FileEntry& file,
              ByteRange free) {
    stream([&](LayoutStreamWriter& out) {
      for (const ByteRange& piece : pieces) out.piece(piece);
      out.file_system({.type = type, .label = "label"});
      out.file(file);
      out.free(free);
      out.end(true);
    });
  }
  void sound_xfs() { volume("xfs", {kXfs}, file_at("/x", 2 * kMiB, 5000), {8 * kMiB, kMiB}); }
  void sound_root() { volume("ext4", kPieces, file_at("/r", kLvmData + 9 * kMiB, 5000), {kLvmData, kMiB}); }
};

struct Completed {
  Layout layout = sample_layout();
  std::vector<std::string> warnings;
};

Completed complete(const Report& report) {
  Completed done;
  const TempDir folder;
  write_file(folder / "report", report.bytes);
  const auto file = FileDescriptor::open(folder / "report", O_RDONLY);
  WarningKeeper keeper;
  complete_layout(done.layout, report.volumes, file.get(), keeper);
  done.warnings = std::move(keeper.warnings);
  return done;
}

bool warned(const Completed& done, std::string_view of) {
  return std::ranges::any_of(
      done.warnings, [of](const std::string& warning) { return warning.find(of) != std::string::npos; });
}

}  // namespace

TEST_CASE("what the appliance read comes into the layout, logical volumes at its end") {
  Report report;
  report.sound_xfs();
  report.sound_root();
  const auto [layout, warnings] = complete(report);
  CHECK(warnings.empty());
  REQUIRE(layout.volumes.size() == 4);
  const Volume& xfs = layout.volumes[0];
  CHECK(xfs.inspected);
  CHECK(xfs.range == kXfs);
  CHECK(xfs.number == 1);
  CHECK(xfs.partition_type == "a");
  CHECK(xfs.label == "label");
  CHECK(xfs.pieces.empty());
  REQUIRE(find_file(xfs, "/x") != nullptr);
  CHECK(total(xfs.free) == kMiB);

  const Volume& root = layout.volumes[3];
  CHECK(root.inspected);
  CHECK(root.name == "group/root");
  CHECK(name_of(root) == "logical volume group/root");
  CHECK(root.type == "ext4");
  CHECK(root.pieces == kPieces);
  CHECK(root.range == ByteRange{kLvmData, 12 * kMiB});
  CHECK(find_file(root, "/r") != nullptr);

  const Volume& lvm = layout.volumes[2];
  CHECK(lvm.inspected);
  CHECK(lvm.free ==
        std::vector<ByteRange>{{kLvmData + 4 * kMiB, 4 * kMiB}, {kLvmData + 12 * kMiB, 48 * kMiB}});
  CHECK(appliance_request(layout) == "");
}

TEST_CASE("the appliance is asked for what the host cannot read, and for nothing else") {
  Layout layout = sample_layout();
  CHECK(appliance_request(layout) == "1\nlogical-volumes\n");
  layout.volumes.pop_back();
  CHECK(appliance_request(layout) == "1\n");
  layout.volumes[0].warning = "damaged";
  CHECK(appliance_request(layout).empty());
  CHECK(appliance_request({}).empty());
}

TEST_CASE("a report on volumes is the same after a trip through JSON, and nonsense is refused") {
  VolumesReport report;
  report.failure = "none";
  report.logical_volumes = {{"a/b", "swap", "thin\xff"}};
  report.physical_volumes = {{7, 1, 2, 3}};
  const std::string text = to_json(report);
  CHECK(text.find('\n') == std::string::npos);
  CHECK(to_json(appliance_wire::volumes_report_from_json(text)) == text);
  for (const char* nonsense : {"", "{", "[]", "{}", "{\"failure\":1}",
                               R"({"failure":"","logical_volumes":[{}],"physical_volumes":[]})"}) {
    CHECK_THROWS_AS(appliance_wire::volumes_report_from_json(nonsense), Error);
  }
}

TEST_CASE("logical volumes that do not lie on the disk as they are have a problem with a name") {
  CHECK(lv_problem("-wi-a-----").empty());
  CHECK(lv_problem("-wi-ao----").empty());
  CHECK(lv_problem("-ri-a-----").empty());
  CHECK(lv_problem("-wi-------") == "LVM does not activate it");
  CHECK(lv_problem("-wi-XX----") == "LVM does not activate it");
  CHECK(lv_problem("Vwi-aotz--") == "it is a thin volume");
  CHECK(lv_problem("twi-aotz--") == "it is a pool for thin volumes");
  CHECK(lv_problem("Cwi-a-C---") == "it is cached");
  CHECK(lv_problem("rwi-a-r---") == "it is a mirror or RAID");
  CHECK(lv_problem("owi-a-s---") == "it is a snapshot or has some");
  CHECK(lv_problem("swi-a-s---") == "it is a snapshot or has some");
  CHECK(lv_problem("").empty());
  CHECK(lv_problem("-wi").empty());
}

TEST_CASE("when the appliance fails every volume it should have read stays opaque, and one line says so") {
  Report report;
  report.volumes.failure = "no qemu\n\x1b";
  const Completed done = complete(report);
  REQUIRE(done.warnings.size() == 1);
  CHECK(warned(done, "partition 1 (xfs), partition 5 (LVM2_member)"));
  CHECK(warned(done, "cut by content alone"));
  CHECK(done.layout.volumes.size() == 3);
  CHECK_FALSE(done.layout.volumes[0].inspected);
  CHECK_FALSE(done.layout.volumes[0].warning.empty());
  CHECK(done.layout.volumes[1].warning.empty());
}

TEST_CASE("a volume that the appliance could not read stays opaque, and the next ones are read") {
  Report report;
  report.stream([](LayoutStreamWriter& out) {
    out.piece(kXfs);
    out.file_system({.type = "xfs"});
    out.warning("its xfs file system cannot be read: a log");
    out.end(false);
  });
  report.sound_root();
  const Completed done = complete(report);
  CHECK(done.warnings.size() == 1);
  CHECK(
      warned(done, "partition 1: its xfs file system cannot be read: a log, so it is cut by content alone"));
  CHECK_FALSE(done.layout.volumes[0].inspected);
  CHECK(done.layout.volumes.back().inspected);
}

TEST_CASE("swap on a logical volume is known without a warning") {
  Report report;
  report.sound_xfs();
  report.volumes.logical_volumes = {{"group/swap", "swap", ""}};
  report.stream([](LayoutStreamWriter& out) {
    for (const ByteRange& piece : kPieces) out.piece(piece);
    out.file_system({});
    out.end(false);
  });
  const Completed done = complete(report);
  CHECK(done.warnings.empty());
  REQUIRE(done.layout.volumes.size() == 4);
  CHECK(done.layout.volumes[3].type == "swap");
  CHECK(done.layout.volumes[2].inspected);
}

TEST_CASE("a logical volume that holds no files the appliance reads is named for what it holds") {
  Report report;
  report.sound_xfs();
  report.volumes.logical_volumes = {{"group/secret", "crypto_LUKS", ""}};
  report.stream([](LayoutStreamWriter& out) {
    for (const ByteRange& piece : kPieces) out.piece(piece);
    out.file_system({});
    out.end(false);
  });
  const Completed done = complete(report);
  CHECK(warned(done, "logical volume group/secret: encrypted with LUKS"));
  REQUIRE(done.layout.volumes.size() == 4);
  CHECK_FALSE(done.layout.volumes[3].inspected);
  CHECK(done.layout.volumes[2].inspected);
}

TEST_CASE("a logical volume whose pieces the walker cannot find is not in the layout") {
  Report report;
  report.sound_xfs();
  report.stream([](LayoutStreamWriter& out) {
    out.file_system({.type = "ext4"});
    out.warning("its ext4 file system cannot be read: it is striped");
    out.end(false);
  });
  const Completed done = complete(report);
  CHECK(warned(done, "group/root: its ext4 file system cannot be read: it is striped, so it is cut by"));
  CHECK(done.layout.volumes.size() == 3);
  CHECK_FALSE(done.layout.volumes[2].inspected);
}

TEST_CASE("a logical volume that lies nowhere in particular is named, and its physical volume is opaque") {
  Report report;
  report.sound_xfs();
  report.volumes.logical_volumes.push_back({"group/thin", "ext4", "it is a thin volume"});
  report.volumes.physical_volumes[0].used_bytes = 32 * kMiB;
  report.sound_root();
  const Completed done = complete(report);
  CHECK(warned(done,
               "logical volume group/thin: its ext4 file system cannot be read: it is a thin volume, so it"));
  CHECK(warned(done, "partition 5"));
  REQUIRE(done.layout.volumes.size() == 4);
  CHECK(done.layout.volumes[3].inspected);
  CHECK_FALSE(done.layout.volumes[2].inspected);
  CHECK(done.layout.volumes[2].free.empty());
}

TEST_CASE("what cannot be true is not believed, and costs only its own volume") {
  const auto root_of = [](const std::function<void(Report&)>& add) {
    Report report;
    report.sound_xfs();
    add(report);
    return complete(report);
  };
  const FileEntry good = file_at("/r", kLvmData + 9 * kMiB, 5000);
  const ByteRange free{kLvmData, kMiB};
  const std::vector<std::pair<std::string, std::function<void(Report&)>>> lies = {
      {"a file between its pieces",
       [&](Report& report) {
         report.volume("ext4", kPieces, file_at("/r", kLvmData + 5 * kMiB, 5000), free);
       }},
      {"a file across its end",
       [&](Report& report) {
         report.volume("ext4", kPieces, file_at("/r", kLvmData + 4 * kMiB - 512, 5000), free);
       }},
      {"free space of others",
       [&](Report& report) { report.volume("ext4", kPieces, good, {2 * kMiB, kMiB}); }},
      {"a piece outside of LVM",
       [&](Report& report) { report.volume("ext4", {kPieces[0], {20 * kMiB, kMiB}}, good, free); }},
      {"no piece", [&](Report& report) { report.volume("ext4", {}, good, free); }},
      {"a piece twice", [&](Report& report) { report.volume("ext4", {kPieces[0], kPieces[0]}, good, free); }},
      {"a piece outside of the image",
       [&](Report& report) { report.volume("ext4", {{kImage, kMiB}}, good, free); }},
      {"a piece of half a sector",
       [&](Report& report) { report.volume("ext4", {{kLvmData, kMiB - 1}}, good, free); }},
      {"nothing", [](Report&) {}},
      {"half a stream",
       [](Report& report) {
         const std::size_t before = report.bytes.size();
         report.sound_root();
         report.bytes.resize(before + (report.bytes.size() - before) / 2);
       }},
      {"noise", [](Report& report) { append(report.bytes, random_bytes(1, 5000)); }},
  };
  for (const auto& [name, add] : lies) {
    INFO(name);
    const Completed done = root_of(add);
    CHECK(done.layout.volumes[0].inspected);
    CHECK(warned(done, "logical volume group/root"));
    for (std::size_t i = 3; i < done.layout.volumes.size(); ++i) {
      CHECK_FALSE(done.layout.volumes[i].inspected);
      CHECK(done.layout.volumes[i].files.empty());
      CHECK(done.layout.volumes[i].free.empty());
    }
  }
}

TEST_CASE("a stream about another partition is not taken for the one that was asked for") {
  Report report;
  report.volumes.logical_volumes.clear();
  SECTION("from elsewhere") {
    report.volume("xfs", {{2 * kMiB, 4 * kMiB}}, file_at("/x", 3 * kMiB, 5000), {5 * kMiB, kMiB});
  }
  SECTION("from nowhere") { report.volume("xfs", {}, file_at("/x", 3 * kMiB, 5000), {5 * kMiB, kMiB}); }
  SECTION("with files elsewhere") {
    report.volume("xfs", {kXfs}, file_at("/x", 40 * kMiB, 5000), {5 * kMiB, kMiB});
  }
  const Completed done = complete(report);
  CHECK_FALSE(done.layout.volumes[0].inspected);
  CHECK(warned(done, "partition 1: its xfs file system cannot be read"));
}

TEST_CASE("free extents are not claimed where LVM's numbers do not add up") {
  Report report;
  report.sound_xfs();
  report.sound_root();
  auto& told = report.volumes.physical_volumes;
  SECTION("more in use") { told[0].used_bytes += kMiB; }
  SECTION("less in use") { told[0].used_bytes -= kMiB; }
  SECTION("another partition") { told[0].number = 4; }
  SECTION("behind its end") { told[0].data_bytes = 64 * kMiB; }
  SECTION("absurd") { told[0].data_offset = UINT64_MAX - 5; }
  SECTION("nothing said") { told.clear(); }
  const Completed done = complete(report);
  CHECK_FALSE(done.layout.volumes[2].inspected);
  CHECK(done.layout.volumes[2].free.empty());
  CHECK(done.layout.volumes[3].inspected);
}

}  // namespace vmpack::test
