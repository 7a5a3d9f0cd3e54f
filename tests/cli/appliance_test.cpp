// SPDX-License-Identifier: Apache-2.0
// Volumes that come from the appliance: whatever it says of them, right, wrong, late or nothing, the image
// comes back identical. A script in the place of its helper says it.
#include <fmt/core.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <functional>

#include "libvmpack/base/units.hpp"
#include "libvmpack/inspect/layout_stream.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr ByteRange kXfs{kMiB, 320 * kMiB};
constexpr ByteRange kExt{kXfs.end(), 16 * kMiB};
constexpr std::uint64_t kFileAt = kXfs.offset + 100 * kMiB;
constexpr std::uint64_t kFileBytes = 300'001;
constexpr ByteRange kResidue{kXfs.offset + 110 * kMiB, 4 * kMiB};

/// An XFS volume, with something in it where a file and where free space could be, and an ext4 one.
void make_disk(const std::string& path) {
  const TempDir folder;
  make_sparse_file(path, kExt.end() + kMiB);
  run_tool({"sfdisk", "-q", path}, {},
           fmt::format("label: gpt\nstart={}, size={}\nstart={}, size={}\n", kXfs.offset / kSectorBytes,
                       kXfs.length / kSectorBytes, kExt.offset / kSectorBytes, kExt.length / kSectorBytes));
  make_sparse_file(folder / "xfs", kXfs.length);
  run_tool({"mkfs.xfs", "-q", folder / "xfs"});
  run_tool({"dd", "if=" + (folder / "xfs"), "of=" + path, "bs=1M", "seek=1", "conv=notrunc,sparse",
            "status=none"});
  overwrite(path, kFileAt, random_bytes(1, kFileBytes));
  overwrite(path, kResidue.offset, random_bytes(2, kResidue.length));
  make_sample_image(folder / "ext", kExt.length, 3);
  overwrite(path, kExt.offset, read_file(folder / "ext"));
}

/// What a walker writes about the XFS volume. `free`: what it calls free.
Bytes sound_report(ByteRange free, bool dirty = false) {
  Bytes report;
  LayoutStreamWriter out([&report](ByteView more) { append(report, more); });
  out.piece(kXfs);
  Volume xfs;
  xfs.type = "xfs";
  xfs.label = "data";
  xfs.dirty = dirty;
  out.file_system(xfs);
  FileEntry file;
  file.path = "/file.txt";
  file.type = FileType::kRegular;
  file.size = kFileBytes;
  file.extents = {{0, kFileAt, kFileBytes}};
  out.file(file);
  out.free(free);
  out.end(true);
  return report;
}

constexpr const char* kHelper = R"(#!/bin/sh
here=${0%/*}
[ "$3" = tcg ] || exit 1
echo launched
cat >"$here/request"
[ ! -e "$here/delay" ] || sleep 2
[ ! -e "$here/report" ] || cat "$here/report" 1<>"$2/volumes"
[ ! -e "$here/answer" ] || cat "$here/answer"
[ -e "$here/silent" ] || echo '{"systems":[]}'
)";

/// The disk, and the folder of the script.
class Scene {
 public:
  Scene() {
    make_disk(disk());
    write_file(folder_ / "vmpack-appliance-helper", kHelper);
    std::filesystem::permissions(folder_ / "vmpack-appliance-helper", std::filesystem::perms(0755));
    answer(R"(volumes {"failure":"","logical_volumes":[],"physical_volumes":[]})");
  }

  [[nodiscard]] std::string disk() const { return folder_ / "disk"; }
  void put(const std::string& name, ByteView bytes) const { write_file(folder_ / name, bytes); }
  void remove(const std::string& name) const { std::filesystem::remove(folder_ / name); }
  void answer(std::string_view line) const { put("answer", as_byte_view(fmt::format("{}\n", line))); }
  [[nodiscard]] std::string request() const { return std::string(as_text(read_file(folder_ / "request"))); }

  [[nodiscard]] CommandResult run(std::vector<std::string> arguments) const {
    CommandOptions options;
    options.environment = {{"VMPACK_HELPER_DIR", folder_.path()}, {"XDG_CACHE_HOME", folder_.path()}};
    return vmpack(std::move(arguments), options);
  }
  [[nodiscard]] CommandResult ingest(const SampleRepository& repository, const std::string& reference,
                                     std::vector<std::string> more = {}) const {
    more.insert(more.begin(), {"ingest", disk(), reference, "--repo", repository.path()});
    return run(more);
  }
  void require_comes_back(const SampleRepository& repository, const std::string& reference) const {
    repository.restore(reference, folder_ / "restored");
    CHECK(same_bytes(folder_ / "restored", disk()));
  }

 private:
  TempDir folder_;
};

OrderedJson volumes_of(const SampleRepository& repository, const std::string& reference) {
  return vmpack_json({"show", reference, "--repo", repository.path()})
      .at("manifest")
      .at("layout")
      .at("volumes");
}

}  // namespace

TEST_CASE("a volume that the appliance read is known as if the host had read it") {
  const Scene scene;
  const SampleRepository repository;
  scene.put("report", sound_report(kResidue));
  const CommandResult result = scene.ingest(repository, "disk:1");
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(result.err.empty());
  CHECK(scene.request() == "1\n");
  scene.require_comes_back(repository, "disk:1");
  const OrderedJson volumes = volumes_of(repository, "disk:1");
  REQUIRE(volumes.size() == 2);
  CHECK(volumes[0].at("type") == "xfs");
  CHECK(volumes[0].at("inspected") == true);
  CHECK(volumes[0].at("file_count") == 1);
  CHECK(volumes[0].at("free_bytes") == kResidue.length);

  const CommandResult shown = scene.run({"inspect", scene.disk(), "--json"});
  REQUIRE(shown.exit_code == 0);
  CHECK(OrderedJson::parse(shown.out).at("volumes")[0].at("file_count") == 1);
}

TEST_CASE("free space of a volume that the appliance read is left out when asked for, unless it is dirty") {
  const Scene scene;
  const SampleRepository repository;
  scene.put("report", sound_report(kResidue));
  REQUIRE(scene.ingest(repository, "disk:1", {"--discard-free"}).exit_code == 0);
  const std::string restored = repository / "restored";
  repository.restore("disk:1", restored);
  CHECK_FALSE(same_bytes(restored, scene.disk()));
  overwrite(restored, kResidue.offset, random_bytes(2, kResidue.length));
  run_tool({"cmp", "-n", std::to_string(kXfs.end()), restored, scene.disk()});

  scene.put("report", sound_report(kResidue, true));
  require_one_line(scene.ingest(repository, "disk:2", {"--discard-free"}), 1,
                   {"xfs", "partition 1", "not cleanly unmounted"});
  CHECK(scene.ingest(repository, "disk:2").exit_code == 0);
  scene.require_comes_back(repository, "disk:2");
}

TEST_CASE(
    "whatever comes from the appliance instead, the image comes back, with one warning for the volume") {
  const Scene scene;
  const SampleRepository repository;
  const auto bent = [](std::uint64_t at, std::uint8_t with) {
    Bytes report = sound_report(kResidue);
    report[std::min<std::uint64_t>(at, report.size() - 1)] ^= std::byte{with};
    return report;
  };
  std::vector<std::pair<std::string, Bytes>> reports = {
      {"nothing", {}},
      {"noise", random_bytes(5, 100'000)},
      {"free space outside", sound_report({kExt.offset, kMiB})},
      {"half", sound_report(kResidue)},
  };
  reports.back().second.resize(reports.back().second.size() / 2);
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    Random random(seed);
    reports.emplace_back(fmt::format("bent {}", seed), bent(random.below(400), 1U << random.below(8)));
  }
  for (const auto& [name, report] : reports) {
    INFO(name);
    scene.put("report", report);
    const CommandResult result = scene.ingest(repository, "disk:1", {"--force"});
    INFO(result.err);
    REQUIRE(result.exit_code == 0);
    scene.require_comes_back(repository, "disk:1");
    if (name.starts_with("bent")) continue;  // may be true after all
    CHECK(result.err.find("partition 1: its xfs file system cannot be read") != std::string::npos);
    CHECK(std::ranges::count(result.err, '\n') == 1);
    CHECK(volumes_of(repository, "disk:1")[0].at("inspected") == false);
  }
  repository.require_intact();
}

TEST_CASE("an appliance that fails costs a warning that says what is lost") {
  const Scene scene;
  const SampleRepository repository;
  SECTION("it says why") {
    scene.answer(R"(volumes {"failure":"no mkfs","logical_volumes":[],"physical_volumes":[]})");
  }
  SECTION("it says nothing") { scene.remove("answer"); }
  SECTION("it talks nonsense") { scene.answer("volumes {"); }
  SECTION("it dies") {
    scene.remove("answer");
    scene.put("silent", {});
  }
  const CommandResult result = scene.ingest(repository, "disk:1", {"--discard-free"});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(result.err.find("partition 1 (xfs): cannot be read, so cut by content alone") != std::string::npos);
  scene.require_comes_back(repository, "disk:1");
}

TEST_CASE("without the appliance its volumes are opaque, and a warning says so") {
  const Scene scene;
  const SampleRepository repository;
  const CommandResult result = scene.ingest(repository, "disk:1", {"--no-os"});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  CHECK(result.err.find("partition 1 (xfs)") != std::string::npos);
  CHECK(volumes_of(repository, "disk:1")[0].at("inspected") == false);
  scene.require_comes_back(repository, "disk:1");
}

TEST_CASE("how long the appliance takes does not change what is packed") {
  const Scene scene;
  scene.put("report", sound_report(kResidue));
  const SampleRepository quick;
  REQUIRE(scene.ingest(quick, "disk:1").exit_code == 0);
  scene.put("delay", {});
  const SampleRepository slow;
  REQUIRE(scene.ingest(slow, "disk:1").exit_code == 0);
  const auto packs = [](const SampleRepository& repository) {
    auto contents = repository.contents();
    std::erase_if(contents, [](const auto& file) {
      return !file.first.starts_with("packs/") && !file.first.starts_with("snapshots/");
    });
    return contents;
  };
  CHECK((packs(quick) == packs(slow)));
}

}  // namespace vmpack::test
