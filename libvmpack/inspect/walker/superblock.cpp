// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/superblock.hpp"

#include <fmt/core.h>

#include <array>
#include <bit>
#include <span>
#include <string>
#include <string_view>

namespace vmpack {
namespace {

static_assert(std::endian::native == std::endian::little, "ext and btrfs are read as they lie");

template <typename T>
T little(ByteView block, std::size_t at) {
  return read_struct<T>(block.subspan(at));
}
std::uint32_t big32(ByteView block, std::size_t at) {
  return __builtin_bswap32(read_struct<std::uint32_t>(block.subspan(at)));
}

std::string uuid_text(ByteView uuid) {
  std::string text;
  for (std::size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += fmt::format("{:02x}", std::to_integer<unsigned>(uuid[i]));
  }
  return text;
}

std::string label_text(ByteView label) {
  const std::string_view text = as_text(label);
  return std::string(text.substr(0, text.find('\0')));
}

/// 0 for what no file system has.
std::uint64_t sane_block_bytes(std::uint64_t bytes) {
  return std::has_single_bit(bytes) && bytes <= 64 * kKiB ? bytes : 0;
}

/// struct ext2_super_block: Documentation/filesystems/ext4/super.rst of the kernel.
namespace ext {
constexpr std::uint64_t kAt = 1024;
constexpr std::size_t kBytes = 1024;

constexpr std::uint16_t kMagic = 0xef53;
constexpr std::uint16_t kStateValid = 1;
constexpr std::uint16_t kStateError = 2;
constexpr std::uint32_t kHasJournal = 0x4;     // compatible
constexpr std::uint32_t kNeedsRecovery = 0x4;  // incompatible
constexpr std::uint32_t kJournalDevice = 0x8;  // incompatible
constexpr std::uint32_t kExt3Incompatible = 0x2 | kNeedsRecovery | kJournalDevice | 0x10;
constexpr std::uint32_t kExt3ReadOnly = 0x1 | 0x2 | 0x4;

void identify(ByteView block, Volume& found) {
  if (little<std::uint16_t>(block, 0x38) != kMagic) return;
  const auto compatible = little<std::uint32_t>(block, 0x5c);
  const auto incompatible = little<std::uint32_t>(block, 0x60);
  const auto read_only = little<std::uint32_t>(block, 0x64);
  if ((incompatible & kJournalDevice) != 0) return;  // a journal for another device
  if ((incompatible & ~kExt3Incompatible) != 0 || (read_only & ~kExt3ReadOnly) != 0) {
    found.type = "ext4";
  } else {
    found.type = (compatible & kHasJournal) != 0 ? "ext3" : "ext2";
  }
  found.uuid = uuid_text(block.subspan(0x68, 16));
  found.label = label_text(block.subspan(0x78, 16));
  const auto log_block_kib = little<std::uint32_t>(block, 0x18);
  found.block_bytes = sane_block_bytes(log_block_kib < 16 ? kKiB << log_block_kib : 0);
  const auto state = little<std::uint16_t>(block, 0x3a);
  found.dirty =
      (incompatible & kNeedsRecovery) != 0 || (state & kStateValid) == 0 || (state & kStateError) != 0;
}
}  // namespace ext

/// struct xfs_dsb: fs/xfs/libxfs/xfs_format.h of the kernel. Big-endian.
namespace xfs {
constexpr std::size_t kBytes = 512;

void identify(ByteView block, Volume& found) {
  if (!as_text(block).starts_with("XFSB")) return;
  found.type = "xfs";
  found.block_bytes = sane_block_bytes(big32(block, 4));
  found.uuid = uuid_text(block.subspan(32, 16));
  found.label = label_text(block.subspan(108, 12));
}
}  // namespace xfs

/// struct btrfs_super_block: fs/btrfs/ctree.h of the kernel.
namespace btrfs {
constexpr std::uint64_t kAt = 64 * kKiB;
constexpr std::size_t kBytes = 4096;
/// Incompatible features: all up to RAID1C34, and SIMPLE_QUOTA. Not zones, not the second kind of extent
/// tree.
constexpr std::uint64_t kUnderstood = 0xfffU | 1U << 16U;

void identify(ByteView block, Volume& found) {
  if (as_text(block.subspan(0x40, 8)) != "_BHRfS_M") return;
  found.type = "btrfs";
  found.block_bytes = sane_block_bytes(little<std::uint32_t>(block, 0x90));
  found.uuid = uuid_text(block.subspan(0x20, 16));
  found.label = label_text(block.subspan(0x12b, 256));
  found.dirty = little<std::uint64_t>(block, 0x60) != 0;  // what was synced since the last whole commit
}
}  // namespace btrfs

/// union swap_header: include/linux/swap.h of the kernel, on pages of 4 KiB.
namespace swap {
constexpr std::size_t kBytes = 4096;
constexpr std::size_t kSignatureBytes = 10;

void identify(ByteView block, Volume& found) {
  const std::string_view signature = as_text(block.last(kSignatureBytes));
  if (signature == "SWAPSPACE2" || signature == "SWAP-SPACE") found.type = "swap";
  for (const std::string_view suspended : {"S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001"}) {
    if (signature.starts_with(suspended)) found.type = "swsuspend";
  }
  if (found.type.empty()) return;
  found.uuid = uuid_text(block.subspan(1036, 16));
  found.label = label_text(block.subspan(1052, 16));
}
}  // namespace swap

template <std::size_t bytes>
std::array<std::byte, bytes> read_block(const BlockDevice& device, std::uint64_t at) {
  std::array<std::byte, bytes> block;
  device.read(at, block);
  return block;
}

}  // namespace

Volume identify(const BlockDevice& device) {
  Volume found;
  xfs::identify(read_block<xfs::kBytes>(device, 0), found);
  if (found.type.empty()) btrfs::identify(read_block<btrfs::kBytes>(device, btrfs::kAt), found);
  if (found.type.empty()) ext::identify(read_block<ext::kBytes>(device, ext::kAt), found);
  if (found.type.empty()) swap::identify(read_block<swap::kBytes>(device, 0), found);
  return found;
}

BtrfsFacts btrfs_facts(const BlockDevice& device) {
  const auto block = read_block<btrfs::kBytes>(device, btrfs::kAt);
  return {.device_bytes = little<std::uint64_t>(block, 0x70),
          .device_count = little<std::uint64_t>(block, 0x88),
          .node_bytes = little<std::uint32_t>(block, 0x94),
          .space_is_understood = (little<std::uint64_t>(block, 0xbc) & ~btrfs::kUnderstood) == 0};
}

}  // namespace vmpack
