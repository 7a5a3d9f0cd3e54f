// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/qcow2_end.hpp"

#include <fcntl.h>

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/source/big_endian.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kHeaderBytes = 104;
constexpr std::uint64_t kOffsetMask = ~0x1ffULL;  // the lowest bits of a table entry are reserved
// QEMU's own limit.
constexpr std::uint64_t kTableBytesMax = 8 * kMiB;

Bytes read_all(const FileDescriptor& file, std::uint64_t offset, std::uint64_t bytes,
               const std::string& path) {
  Bytes all(bytes);
  if (read_at(file.get(), all, offset, path) < bytes) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is cut short: its reference counts lie behind its end", path),
                "fetch or copy it again");
  }
  return all;
}

}  // namespace

ByteRange qcow2_last_cluster(const std::string& path, std::uint64_t start) {
  const auto file = FileDescriptor::open(path, O_RDONLY | O_NONBLOCK);
  const Bytes header = read_all(file, start, kHeaderBytes, path);
  const auto cluster_bits = big_endian<std::uint32_t>(header, 20);
  const auto table_offset = big_endian<std::uint64_t>(header, 48);
  const auto table_clusters = big_endian<std::uint32_t>(header, 56);
  const std::uint32_t count_order =
      big_endian<std::uint32_t>(header, 4) < 3 ? 4 : big_endian<std::uint32_t>(header, 96);
  const bool sound = cluster_bits >= 9 && cluster_bits <= 21 && count_order <= 6 &&
                     (static_cast<std::uint64_t>(table_clusters) << cluster_bits) <= kTableBytesMax;
  if (!sound) throw Error(ErrorCode::kDamaged, fmt::format("{} has an impossible header", path));

  const std::uint64_t cluster_bytes = 1ULL << cluster_bits;
  const Bytes table = read_all(file, start + table_offset, table_clusters * cluster_bytes, path);
  for (std::size_t entry = table.size() / 8; entry-- > 0;) {
    const std::uint64_t block_offset = big_endian<std::uint64_t>(table, entry * 8) & kOffsetMask;
    if (block_offset == 0) continue;
    const Bytes block = read_all(file, start + block_offset, cluster_bytes, path);
    for (std::size_t byte = block.size(); byte-- > 0;) {
      if (block[byte] == std::byte{0}) continue;
      // Counts are 1 to 64 bits wide; the highest ones of a byte belong to its last clusters.
      const unsigned count_bits = 1U << count_order;
      std::uint64_t in_block = byte * 8 / count_bits;
      for (unsigned bit = 7; count_bits < 8; --bit) {
        if ((std::to_integer<unsigned>(block[byte]) >> bit & 1U) == 0) continue;
        in_block += bit / count_bits;
        break;
      }
      const std::uint64_t counts_per_block = cluster_bytes * 8 / count_bits;
      return {(entry * counts_per_block + in_block) * cluster_bytes, cluster_bytes};
    }
  }
  return {};
}

}  // namespace vmpack
