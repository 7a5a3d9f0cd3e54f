// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/opaque.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "libvmpack/base/format_text.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kFiles =
    "its files are not known: no file listing, worse deduplication, and free space cannot be left out";
constexpr std::string_view kEncrypted =
    "its files cannot be known: no file listing, next to no deduplication and compression, and free space "
    "cannot be left out";

/// A type as libblkid calls it.
struct Kind {
  std::string_view type;
  std::string_view what;
  std::string_view loss;  ///< empty: nothing is lost
};

constexpr std::array kKinds{
    Kind{"swap", "swap space", {}},
    Kind{"swsuspend", "swap space of a sleeping system", {}},
    Kind{"bios-boot", "a boot loader", {}},
    Kind{"jbd", "the journal of another file system", {}},
    // Read through the libguestfs appliance.
    Kind{"xfs", "an XFS file system", {}},
    Kind{"btrfs", "a btrfs file system", {}},
    Kind{"LVM2_member", "a physical volume of LVM", {}},

    Kind{"crypto_LUKS", "encrypted with LUKS", kEncrypted},
    Kind{"BitLocker", "encrypted with BitLocker", kEncrypted},
    Kind{"cs_fvault2", "encrypted with FileVault", kEncrypted},
    Kind{"linux_raid_member", "a member of a Linux RAID (md)", kFiles},
    Kind{"zfs_member", "a member of a ZFS pool", kFiles},
    Kind{"ceph_bluestore", "the store of a Ceph OSD (BlueStore)", kFiles},
    Kind{"bcache", "a bcache device", kFiles},
    Kind{"drbd", "a DRBD device", kFiles},
    Kind{"stratis", "a member of a Stratis pool", kFiles},
    Kind{"vdo", "a VDO volume", kFiles},
    Kind{"LVM1_member", "a physical volume of LVM 1", kFiles},
    Kind{"VMFS", "a VMFS file system", kFiles},
    Kind{"VMFS_volume_member", "a member of a VMFS volume", kFiles},
    Kind{"DM_verity_hash", "hashes of dm-verity", {}},
    Kind{"DM_integrity", "a dm-integrity device", kFiles},
};

/// Partitions of firmware and boot loaders, which hold no file system.
constexpr std::array<std::string_view, 4> kWithoutFiles{
    "9e1a2d38-c612-4316-aa26-8b49521e5a8b",  // PowerPC PReP
    "0x41",                                  // the same in an MBR
    "e3c9e316-0b5c-4db8-817d-f92df00215ae",  // reserved by Microsoft
    "d3bfe2de-3daf-11df-ba40-e3a556d89593",  // Intel's fast resume from flash
};

std::string tell(std::string_view what, std::string_view loss) {
  return fmt::format("{}: stored bit for bit, but {}", what, loss);
}

}  // namespace

std::string opaque_warning(const Volume& volume) {
  if (std::ranges::find(kWithoutFiles, volume.partition_type) != kWithoutFiles.end()) return {};
  if (volume.type.empty()) {
    const bool whole_disk = volume.number == 0 && volume.name.empty();
    return tell(whole_disk ? "no known partition table or file system" : "no known file system", kFiles);
  }
  const auto* kind = std::ranges::find(kKinds, volume.type, &Kind::type);
  if (kind != kKinds.end()) return kind->loss.empty() ? std::string() : tell(kind->what, kind->loss);
  if (volume.type.ends_with("_raid_member")) return tell("a member of a RAID of the firmware", kFiles);
  return tell(fmt::format("{}, which vmpack does not read", printable(volume.type)), kFiles);
}

}  // namespace vmpack
