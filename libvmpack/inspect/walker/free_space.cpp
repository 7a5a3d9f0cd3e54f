// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/free_space.hpp"

#include <linux/fs.h>
#include <linux/fsmap.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/inspect/walker/range_set.hpp"

namespace vmpack {
namespace {

constexpr std::uint32_t kRecords = 2048;

/// As the kernel encodes it for userland.
std::uint32_t kernel_number(dev_t device) {
  const unsigned minor_number = minor(device);
  return (minor_number & 0xffU) | (major(device) << 8U) | ((minor_number & ~0xffU) << 12U);
}

/// Asks for everything from `low` on.
void ask(int root, const fsmap& low, Bytes& buffer) {
  // All zero; clang refuses {} for what ends in an array of no size.
  auto head = read_struct<fsmap_head>(Bytes(sizeof(fsmap_head)));
  head.fmh_count = kRecords;
  head.fmh_keys[0] = low;
  constexpr auto kAll32 = std::numeric_limits<std::uint32_t>::max();
  constexpr auto kAll64 = std::numeric_limits<std::uint64_t>::max();
  head.fmh_keys[1] = {.fmr_device = kAll32,
                      .fmr_flags = kAll32,
                      .fmr_physical = kAll64,
                      .fmr_owner = kAll64,
                      .fmr_offset = kAll64};
  std::memcpy(buffer.data(), &head, sizeof(head));
  if (::ioctl(root, FS_IOC_GETFSMAP, buffer.data()) != 0) {
    throw system_error(errno, "cannot read", "its map of free space");
  }
}

}  // namespace

std::vector<ByteRange> mapped_free_space(int root, dev_t device) {
  std::vector<ByteRange> free;
  Bytes buffer(sizeof(fsmap_head) + kRecords * sizeof(fsmap));
  const std::uint32_t wanted_device = kernel_number(device);
  fsmap last{};
  for (bool more = true; more;) {
    ask(root, last, buffer);
    const auto head = read_struct<fsmap_head>(buffer);
    if ((head.fmh_oflags & FMH_OF_DEV_T) == 0 && head.fmh_entries > 0) {
      throw Error(ErrorCode::kUnsupported, "its map of free space speaks of devices that have no number");
    }
    for (std::uint32_t i = 0; i < std::min(head.fmh_entries, kRecords); ++i) {
      last = read_struct<fsmap>(ByteView(buffer).subspan(sizeof(head) + i * sizeof(last)));
      const bool is_free = (last.fmr_flags & FMR_OF_SPECIAL_OWNER) != 0 && last.fmr_owner == FMR_OWN_FREE;
      if (is_free && last.fmr_device == wanted_device) free.push_back({last.fmr_physical, last.fmr_length});
    }
    more = head.fmh_entries > 0 && (last.fmr_flags & FMR_OF_LAST) == 0;
  }
  sort_and_join(free);
  return free;
}

}  // namespace vmpack
