// SPDX-License-Identifier: Apache-2.0
// What inspection found on an image. A hint about where to cut, never a statement about what is stored:
// everything here comes from hostile input, and whoever uses it must bear wrong, overlapping and out-of-range
// values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libvmpack/base/file_entry.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {

struct Volume {
  ByteRange range;  ///< in the image; of a logical volume from its first byte there to its last
  /// Of a logical volume: where its bytes lie in the image, in their order; what is between is not its own.
  std::vector<ByteRange> pieces;
  std::string name;            ///< "group/volume" of a logical volume; empty otherwise
  std::uint32_t number = 0;    ///< partition number; 0 where there is none: the whole disk, a logical volume
  std::string type;            ///< "ext4", "swap", "xfs", "bios-boot", ...; empty when nothing recognised it
  std::string partition_type;  ///< GPT type GUID or MBR type ("0x83"); empty where there is no table
  std::string label;
  std::string uuid;
  std::uint64_t block_bytes = 0;  ///< file-system block size, 0 when not known
  bool inspected = false;         ///< files and free space below are known; otherwise the volume is opaque
  bool dirty = false;             ///< not cleanly unmounted
  std::string warning;  ///< why it could not be inspected, for people; empty when it could or need not
  std::vector<ByteRange> free;   ///< in the image, sorted: what the file system calls free
  std::vector<FileEntry> files;  ///< sorted by path
};

struct Layout {
  std::uint64_t image_bytes = 0;
  std::string table;  ///< "gpt", "mbr", or empty
  std::string disk_uuid;
  std::vector<Volume> volumes;  ///< sorted by offset, logical volumes behind all others
};

/// A volume for people: "partition 2", "logical volume group/root", "the disk".
[[nodiscard]] std::string name_of(const Volume& volume);

}  // namespace vmpack
