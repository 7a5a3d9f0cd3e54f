// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/device_report.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <optional>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/inspect/walker/block_device.hpp"
#include "libvmpack/inspect/walker/btrfs_space.hpp"
#include "libvmpack/inspect/walker/disk_address.hpp"
#include "libvmpack/inspect/walker/file_walk.hpp"
#include "libvmpack/inspect/walker/free_space.hpp"
#include "libvmpack/inspect/walker/mounted_volume.hpp"
#include "libvmpack/inspect/walker/range_set.hpp"
#include "libvmpack/inspect/walker/superblock.hpp"

namespace vmpack {
namespace {

/// A device whose file system is mounted, and the addresses in it.
class OpenVolume {
 public:
  /// `found`: what is known is filled in, also when this throws Error. Nothing is mounted where no file
  /// system was recognised.
  OpenVolume(const std::string& path, Volume& found) : device_(path) {
    found = identify(device_);
    device_to_disk_ = disk_addresses(device_.number(), device_.bytes());
    for (const AddressRun& run : device_to_disk_.runs()) found.pieces.push_back({run.to, run.length});
    if (found.type.empty() || found.type == "swap" || found.type == "swsuspend") return;
    is_btrfs_ = found.type == "btrfs";
    if (is_btrfs_ && btrfs_facts(device_).device_count > 1) {
      throw Error(ErrorCode::kUnsupported, "it is spread over more than one device");
    }
    mount_.emplace(device_, found.type);
    found.dirty = found.dirty || mount_->log_is_dirty();
    if (is_btrfs_) chunks_ = btrfs_chunks(root());
    to_disk_ = is_btrfs_ ? btrfs_addresses(chunks_).over(device_to_disk_) : device_to_disk_;
  }

  /// False where there is no file system.
  [[nodiscard]] bool is_mounted() const { return mount_.has_value(); }
  [[nodiscard]] int root() const { return mount_->root(); }
  /// From the file system's addresses to the disk's.
  [[nodiscard]] const AddressMap& to_disk() const { return to_disk_; }

  /// On the disk, sorted. Throws Error.
  [[nodiscard]] std::vector<ByteRange> free_space() const {
    const std::vector<ByteRange> on_device = is_btrfs_
                                                 ? btrfs_free_space(root(), chunks_, btrfs_facts(device_))
                                                 : mapped_free_space(root(), device_.number());
    std::vector<ByteRange> on_disk;
    for (const ByteRange& range : on_device) {
      if (!device_to_disk_.translate(range, on_disk)) {
        throw Error(ErrorCode::kDamaged, "it calls free what it does not have");
      }
    }
    sort_and_join(on_disk);
    return on_disk;
  }

 private:
  BlockDevice device_;
  bool is_btrfs_ = false;
  AddressMap device_to_disk_;
  AddressMap to_disk_;
  std::vector<BtrfsChunk> chunks_;
  std::optional<MountedVolume> mount_;
};

/// What is wrong with the file system, for people; empty when nothing is.
std::string problem_of(const FileWalk& walk, const std::optional<Error>& free_error) {
  std::vector<std::string> damage;
  const bool unsupported = free_error && free_error->code() == ErrorCode::kUnsupported;
  if (free_error && !unsupported) damage.emplace_back(free_error->what());
  describe(walk.damage(), damage);
  if (walk.free_is_in_use()) damage.emplace_back("files in what it calls free");
  if (walk.is_cut_short()) damage.emplace_back("more files than can be listed");
  if (!damage.empty()) return fmt::format("its file system is damaged: {}", fmt::join(damage, ", "));
  return unsupported ? fmt::format("its free space is not known: {}", free_error->what()) : std::string();
}

void report_contents(const OpenVolume& volume, bool dirty, LayoutStreamWriter& out) {
  std::vector<ByteRange> free;
  std::optional<Error> free_error;
  try {
    if (!dirty) free = volume.free_space();
  } catch (const Error& error) {
    free_error = error;
  }
  FileWalk walk(volume.root(), volume.to_disk(), free, out);
  walk.walk();
  const std::string problem = problem_of(walk, free_error);
  if (problem.empty()) {
    for (const ByteRange& range : free) out.free(range);
  } else {
    out.warning(problem);
  }
  out.end(true);
}

}  // namespace

void report_device(const std::string& path, LayoutStreamWriter& out) {
  Volume found;
  std::optional<OpenVolume> volume;
  std::string failure;
  try {
    volume.emplace(path, found);
  } catch (const Error& error) {
    failure = error.what();
  }
  for (const ByteRange& piece : found.pieces) out.piece(piece);
  if (!failure.empty()) {
    out.file_system(found);
    out.warning(found.type.empty()
                    ? fmt::format("it cannot be read: {}", failure)
                    : fmt::format("its {} file system cannot be read: {}", found.type, failure));
    out.end(false);
    return;
  }
  out.file_system(found);
  if (volume->is_mounted()) {
    report_contents(*volume, found.dirty, out);
  } else {
    out.end(false);
  }
}

}  // namespace vmpack
