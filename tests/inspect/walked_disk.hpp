// SPDX-License-Identifier: Apache-2.0
// Disk images whose file systems the kernel makes and fills, and what vmpack-volume-walker says about them.
#pragma once

#include <sys/stat.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/inspect/sample_disk.hpp"
#include "tests/support/loop_device.hpp"

namespace vmpack::test {

/// A file as the kernel shows it. `content`: of regular files.
struct SeenFile {
  struct stat status{};
  std::string target;
  Bytes content;
};

/// Everything below a mounted file system's root, by its path from there; the root is "/".
[[nodiscard]] std::map<std::string, SeenFile> see_files(const std::string& mounted);

/// A file system that lies somewhere in a larger disk.
class WalkedDisk {
 public:
  /// `make`: mkfs and its options, before the device's path.
  WalkedDisk(std::vector<std::string> make, std::uint64_t volume_bytes,
             std::uint64_t sector_bytes = kSectorBytes);

  [[nodiscard]] std::string path() const { return folder_ / "disk"; }
  [[nodiscard]] std::string mounted() const { return folder_ / "mounted"; }
  [[nodiscard]] ByteRange range() const { return range_; }
  [[nodiscard]] LoopDevice device() const { return {path(), range_, sector_bytes_}; }

  /// Lets `fill` change what is in it. `options`: for mount.
  template <typename Fill>
  void change(Fill&& fill, const std::string& options = "defaults") const {
    const LoopDevice loop = device();
    const Mounted mount(loop.path(), mounted(), options);
    fill(mounted());
  }
  [[nodiscard]] std::map<std::string, SeenFile> files() const;
  /// What the walker says of it, checked by the reader that the parent uses.
  [[nodiscard]] Volume walk() const;

 private:
  TempDir folder_;
  ByteRange range_;
  std::uint64_t sector_bytes_;
};

/// Runs the walker over devices that lie in `range` of a disk.
[[nodiscard]] std::vector<Volume> walk_devices(const std::vector<std::string>& devices, ByteRange range);

/// Fails the test where the volume's files are not what the kernel shows. Returns how many files with
/// content have no extents, hard links aside.
std::size_t require_same_files(const std::string& disk, const Volume& volume,
                               const std::map<std::string, SeenFile>& seen);

/// Fills all free space with bytes that are no zeros.
void spoil_free_space(const std::string& disk, const Volume& volume);

/// Mounting takes root. Tells so, and returns false, where it is not possible.
[[nodiscard]] bool can_mount();

}  // namespace vmpack::test
