// SPDX-License-Identifier: Apache-2.0
// A disk with XFS, btrfs and LVM on it, read by a real appliance: what it says is held against the files, and
// packed with it every file comes back, whether free space is kept or not.
#include <fcntl.h>
#include <fmt/core.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/ingest/ingest.hpp"
#include "libvmpack/read/restore.hpp"
#include "tests/inspect/walked_disk.hpp"
#include "tests/support/fake_appliance.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

using Files = std::map<std::string, SeenFile>;

constexpr ByteRange kXfs{kMiB, 320 * kMiB};
constexpr ByteRange kBtrfs{kXfs.end(), 160 * kMiB};
constexpr ByteRange kLvm{kBtrfs.end(), 128 * kMiB};
constexpr ByteRange kExt{kLvm.end(), 16 * kMiB};
constexpr std::uint64_t kExtentBytes = 1 * kMiB;  // LVM's
constexpr std::uint64_t kDeletedBytes = 6 * kMiB;

std::string size_text(std::uint64_t bytes) { return fmt::format("{}b", bytes); }

/// Files of all kinds, and one that was deleted after it reached the disk.
void fill_volume(const std::string& folder) {
  fill_tree(folder);
  write_file(folder + "/deleted", random_bytes(1, kDeletedBytes));
  run({"sync", "-f", folder});
  std::filesystem::remove(folder + "/deleted");
}

/// Physical extents of a logical volume, in its order, from how pvs(8) and lvs(8) name them:
/// "/dev/loop0:0-23".
std::vector<ByteRange> pieces_from(const std::string& ranges, std::uint64_t data_offset) {
  std::vector<ByteRange> pieces;
  std::size_t at = 0;
  while ((at = ranges.find(':', at)) != std::string::npos) {
    const std::uint64_t first = std::stoull(ranges.substr(++at));
    const std::uint64_t last = std::stoull(ranges.substr(ranges.find('-', at) + 1));
    pieces.push_back({data_offset + first * kExtentBytes, (last - first + 1) * kExtentBytes});
  }
  return pieces;
}

/// This kernel may know no logical volumes, so they are only written down.
class VolumeGroup {
 public:
  VolumeGroup(const std::string& disk, ByteRange range) : loop_(disk, range), range_(range) {
    lvm({"pvcreate", "-y"}, {loop_.path()});
    lvm({"vgcreate", "-y", "-s", size_text(kExtentBytes)}, {"group", loop_.path()});
  }
  void add(const std::string& name, std::uint64_t bytes) {
    lvm({"lvcreate", "-y", "-an", "-Zn", "-Wn", "--driverloaded", "n", "-n", name, "-L", size_text(bytes)},
        {"group"});
  }
  void extend(const std::string& name, std::uint64_t bytes) {
    lvm({"lvextend", "-y", "--driverloaded", "n", "-L", "+" + size_text(bytes)}, {"group/" + name});
  }
  [[nodiscard]] std::vector<ByteRange> pieces(const std::string& name) {
    const std::string start =
        lvm({"pvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "pe_start"}, {});
    return pieces_from(lvm({"lvs", "--noheadings", "-o", "seg_pe_ranges"}, {"group/" + name}),
                       range_.offset + std::stoull(start));
  }

 private:
  std::string lvm(std::vector<std::string> words, const std::vector<std::string>& names) {
    words.insert(words.end(),
                 {"--config", fmt::format("devices {{ filter=[\"a|^{}$|\",\"r|.*|\"] use_devicesfile=0 }} "
                                          "activation {{ udev_sync=0 udev_rules=0 }} "
                                          "backup {{ backup=0 archive=0 }}",
                                          loop_.path())});
    words.insert(words.end(), names.begin(), names.end());
    return run(words);
  }

  LoopDevice loop_;
  ByteRange range_;
};

/// What lies in pieces of a disk as one file, and back.
void gather(const std::string& disk, const std::vector<ByteRange>& pieces, const std::string& into) {
  write_file(into, Bytes{});
  std::uint64_t at = 0;
  const auto source = FileDescriptor::open(disk, O_RDONLY);
  for (const ByteRange& piece : pieces) {
    Bytes bytes(piece.length);
    read_at(source.get(), bytes, piece.offset, disk);
    overwrite(into, at, bytes);
    at += piece.length;
  }
}
void scatter(const std::string& from, const std::vector<ByteRange>& pieces, const std::string& disk) {
  const Bytes bytes = read_file(from);
  std::uint64_t at = 0;
  for (const ByteRange& piece : pieces) {
    overwrite(disk, piece.offset, ByteView(bytes).subspan(at, std::min(piece.length, bytes.size() - at)));
    at += piece.length;
  }
}

/// The disk, and what is on each volume.
class SampleDisk {
 public:
  SampleDisk() {
    make_sparse_file(path(), kExt.end() + kMiB);
    run({"sfdisk", "-q", path()}, table());
    make_volume({"mkfs.xfs", "-q"}, kXfs);
    make_volume({"mkfs.btrfs", "-q"}, kBtrfs);
    make_logical_volumes();
    make_volume({"mke2fs", "-q", "-t", "ext4"}, kExt);
  }

  [[nodiscard]] std::string path() const { return folder_ / "disk"; }
  [[nodiscard]] const std::vector<ByteRange>& root() const { return root_; }
  [[nodiscard]] const std::vector<ByteRange>& swap() const { return swap_; }
  [[nodiscard]] std::string operator/(std::string_view name) const { return folder_ / name; }

  /// Files of a partition of `disk`.
  [[nodiscard]] Files files(const std::string& disk, ByteRange range) const {
    const LoopDevice loop(disk, range);
    const Mounted mount(loop.path(), folder_ / "mounted", "ro");
    return see_files(folder_ / "mounted");
  }
  [[nodiscard]] Files root_files(const std::string& disk) const {
    gather(disk, root_, folder_ / "root");
    return files(folder_ / "root", {0, total_bytes(root_)});
  }

 private:
  static std::string table() {
    std::string text = "label: gpt\n";
    for (const ByteRange range : {kXfs, kBtrfs, kLvm, kExt}) {
      text += fmt::format("start={}, size={}, type={}\n", range.offset / kSectorBytes,
                          range.length / kSectorBytes, range == kLvm ? "V" : "L");
    }
    return text;
  }
  void make_volume(std::vector<std::string> make, ByteRange range) {
    const LoopDevice loop(path(), range);
    make.push_back(loop.path());
    run(make);
    const Mounted mount(loop.path(), folder_ / "mounted");
    fill_volume(folder_ / "mounted");
  }
  void make_logical_volumes() {
    VolumeGroup group(path(), kLvm);
    group.add("root", 40 * kMiB);
    group.add("swap", 8 * kMiB);
    group.extend("root", 20 * kMiB);
    root_ = group.pieces("root");
    swap_ = group.pieces("swap");
    make_sparse_file(folder_ / "root", total_bytes(root_));
    run({"mke2fs", "-q", "-t", "ext4", folder_ / "root"});
    {
      const LoopDevice loop(folder_ / "root", {0, total_bytes(root_)});
      const Mounted mount(loop.path(), folder_ / "mounted");
      fill_volume(folder_ / "mounted");
    }
    scatter(folder_ / "root", root_, path());
    make_sparse_file(folder_ / "swap", total_bytes(swap_));
    run({"mkswap", "-q", folder_ / "swap"});
    overwrite(folder_ / "swap", 4 * kMiB, random_bytes(2, kMiB));
    scatter(folder_ / "swap", swap_, path());
  }

  TempDir folder_;
  std::vector<ByteRange> root_;
  std::vector<ByteRange> swap_;
};

bool same_contents(const Files& a, const Files& b) {
  return std::ranges::equal(a, b, [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.content == y.second.content && x.second.target == y.second.target &&
           x.second.status.st_mode == y.second.status.st_mode &&
           x.second.status.st_mtim.tv_sec == y.second.status.st_mtim.tv_sec;
  });
}

/// A repository that images go through.
struct Through {
  TempDir folder;
  std::shared_ptr<const Repository> repository = [this] {
    std::filesystem::create_directory(folder / "repository");
    std::shared_ptr<Store> store = open_directory_store(folder / "repository");
    Repository::init(*store, {});
    return Repository::open(store);
  }();

  /// Packs the disk and writes it back. `complete`: what the appliance found; null: there is none.
  Manifest trip(const SampleDisk& disk, const Layout& known, const Layout* complete, bool discard_free,
                const std::string& restored) {
    WarningKeeper warnings;
    const auto source = open_source(disk.path(), {.format = "raw", .backing_root = {}}, warnings);
    std::optional<FakeAppliance> appliance;
    if (complete != nullptr) appliance.emplace(*complete);
    const IngestResult result =
        ingest(repository, *source, known, parse_reference_name(fmt::format("disk:{}", ++trips_)),
               {.discard_free = discard_free}, warnings, appliance ? &*appliance : nullptr);
    restore(*repository, result.snapshot, *open_raw_sink(restored, source->size(), true), 2, warnings);
    return result.manifest;
  }

 private:
  int trips_ = 0;
};

}  // namespace

TEST_CASE("XFS, btrfs and LVM are read by the appliance, packed along their files, and come back") {
  if (!can_mount() || !std::filesystem::exists("/usr/lib/x86_64-linux-gnu/guestfs/supermin.d")) return;
  const SampleDisk disk;
  WarningKeeper warnings;
  const auto source = open_source(disk.path(), {.format = "raw", .backing_root = {}}, warnings);
  const auto session =
      ApplianceSession::start(source->attachment(), sector_bytes_of(*source), std::chrono::seconds(800));
  const Layout known = inspect(*source, {}, warnings);
  session->ask_for(known);
  Layout complete = known;
  session->complete(complete, warnings);
  for (const std::string& warning : warnings.warnings) UNSCOPED_INFO(warning);
  CHECK(warnings.warnings.empty());

  REQUIRE(complete.volumes.size() == 6);
  const Volume& xfs = complete.volumes[0];
  const Volume& btrfs = complete.volumes[1];
  const Volume& lvm = complete.volumes[2];
  const Volume& root = complete.volumes[4];
  const Volume& swap = complete.volumes[5];
  for (const Volume* volume : {&xfs, &btrfs, &root}) {
    INFO(name_of(*volume));
    REQUIRE(volume->inspected);
    CHECK_FALSE(volume->dirty);
    CHECK(total(volume->free) >= kDeletedBytes);
  }
  const Files xfs_files = disk.files(disk.path(), kXfs);
  const Files btrfs_files = disk.files(disk.path(), kBtrfs);
  const Files root_files = disk.root_files(disk.path());
  CHECK(require_same_files(disk.path(), xfs, xfs_files) == 0);
  require_same_files(disk.path(), btrfs, btrfs_files);
  CHECK(require_same_files(disk.path(), root, root_files) == 0);
  CHECK(root.name == "group/root");
  CHECK(root.pieces.size() == 2);
  CHECK(root.pieces == disk.root());
  CHECK(swap.name == "group/swap");
  CHECK(swap.type == "swap");
  CHECK(swap.pieces == disk.swap());
  CHECK(lvm.inspected);
  CHECK(total(lvm.free) >= 56 * kMiB);

  Through through;
  const std::string restored = disk / "restored";
  through.trip(disk, known, nullptr, false, restored);
  CHECK(run({"cmp", disk.path(), restored}).empty());
  through.trip(disk, known, &complete, false, restored);
  CHECK(run({"cmp", disk.path(), restored}).empty());

  const Manifest manifest = through.trip(disk, known, &complete, true, restored);
  CHECK(manifest.volumes.size() == 6);
  CHECK(manifest.discarded->free >= 3 * kDeletedBytes);
  CHECK(manifest.discarded->swap >= kMiB);
  for (const auto& [check, range] : std::vector<std::pair<std::vector<std::string>, ByteRange>>{
           {{"xfs_repair", "-n"}, kXfs}, {{"btrfs", "check", "--readonly"}, kBtrfs}}) {
    const LoopDevice loop(restored, range);
    auto arguments = check;
    arguments.push_back(loop.path());
    run(arguments);
  }
  CHECK(same_contents(disk.files(restored, kXfs), xfs_files));
  CHECK(same_contents(disk.files(restored, kBtrfs), btrfs_files));
  CHECK(same_contents(disk.root_files(restored), root_files));
  run({"e2fsck", "-fn", disk / "root"});
  gather(restored, disk.swap(), disk / "swap");
  CHECK(run({"blkid", "-p", "-o", "value", "-s", "TYPE", disk / "swap"}) == "swap\n");
  CHECK(session->facts().failure.empty());
}

}  // namespace vmpack::test
