// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/btrfs_space.hpp"

#include <linux/btrfs_tree.h>

#include <array>
#include <cstddef>
#include <limits>

#include "libvmpack/base/error.hpp"
#include "libvmpack/inspect/walker/btrfs_tree.hpp"
#include "libvmpack/inspect/walker/range_set.hpp"

namespace vmpack {
namespace {

/// What btrfs leaves to boot loaders, and its superblock's copies with the stripe that each lies in.
constexpr std::array<ByteRange, 3> kReserved{
    {{0, 1 * kMiB}, {64 * kMiB, 64 * kKiB}, {256 * kGiB, 64 * kKiB}}};

Error damaged() { return {ErrorCode::kDamaged, "its tables of space make no sense"}; }

bool is_countable(ByteRange range) {
  return range.length <= std::numeric_limits<std::uint64_t>::max() - range.offset;
}

BtrfsChunk chunk_of(std::uint64_t address, ByteView item) {
  constexpr std::size_t kStripesAt = offsetof(btrfs_chunk, stripe);
  if (item.size() < sizeof(btrfs_chunk)) throw damaged();
  const auto found = read_struct<btrfs_chunk>(item);
  const std::uint64_t profile = found.type & BTRFS_BLOCK_GROUP_PROFILE_MASK;
  if (profile != 0 && profile != BTRFS_BLOCK_GROUP_DUP) {
    throw Error(ErrorCode::kUnsupported, "it is spread over devices (RAID)");
  }
  BtrfsChunk chunk{.addresses = {address, found.length}};
  if (!is_countable(chunk.addresses)) throw damaged();
  for (std::size_t i = 0; i < found.num_stripes; ++i) {
    const std::size_t at = kStripesAt + i * sizeof(btrfs_stripe);
    if (item.size() < at + sizeof(btrfs_stripe)) throw damaged();
    const std::uint64_t offset = read_struct<btrfs_stripe>(item.subspan(at)).offset;
    if (!is_countable({offset, found.length})) throw damaged();
    chunk.copies.push_back(offset);
  }
  if (chunk.copies.empty()) throw damaged();
  return chunk;
}

/// Everything allocated, by btrfs's addresses.
std::vector<ByteRange> allocated(int root, std::uint64_t node_bytes) {
  std::vector<ByteRange> used;
  for_each_btrfs_item(root, BTRFS_EXTENT_TREE_OBJECTID, [&](const auto& header, ByteView) {
    ByteRange range{header.objectid, 0};
    if (header.type == BTRFS_EXTENT_ITEM_KEY) range.length = header.offset;
    if (header.type == BTRFS_METADATA_ITEM_KEY) range.length = node_bytes;
    if (!is_countable(range)) throw damaged();
    if (range.length > 0) used.push_back(range);
  });
  sort_and_join(used);
  return used;
}

}  // namespace

std::vector<BtrfsChunk> btrfs_chunks(int root) {
  std::vector<BtrfsChunk> chunks;
  for_each_btrfs_item(root, BTRFS_CHUNK_TREE_OBJECTID, [&](const auto& header, ByteView item) {
    if (header.type == BTRFS_CHUNK_ITEM_KEY) chunks.push_back(chunk_of(header.offset, item));
  });
  return chunks;
}

AddressMap btrfs_addresses(const std::vector<BtrfsChunk>& chunks) {
  std::vector<AddressRun> runs;
  runs.reserve(chunks.size());
  for (const BtrfsChunk& chunk : chunks) {
    runs.push_back({chunk.addresses.offset, chunk.copies.front(), chunk.addresses.length});
  }
  return AddressMap(std::move(runs));
}

std::vector<ByteRange> btrfs_free_space(int root, const std::vector<BtrfsChunk>& chunks,
                                        const BtrfsFacts& facts) {
  if (!facts.space_is_understood) {
    throw Error(ErrorCode::kUnsupported, "it keeps account of its space in a way that is not known here");
  }
  const std::vector<ByteRange> used = allocated(root, facts.node_bytes);
  std::vector<ByteRange> in_chunks;
  std::vector<ByteRange> free;
  for (const BtrfsChunk& chunk : chunks) {
    const std::vector<ByteRange> unused = without({&chunk.addresses, 1}, used);
    for (const std::uint64_t copy : chunk.copies) {
      in_chunks.push_back({copy, chunk.addresses.length});
      for (const ByteRange& range : unused) {
        free.push_back({copy + (range.offset - chunk.addresses.offset), range.length});
      }
    }
  }
  sort_and_join(in_chunks);
  const ByteRange device{0, facts.device_bytes};
  const std::vector<ByteRange> in_no_chunk = without({&device, 1}, in_chunks);
  free.insert(free.end(), in_no_chunk.begin(), in_no_chunk.end());
  sort_and_join(free);
  return without(free, kReserved);
}

}  // namespace vmpack
