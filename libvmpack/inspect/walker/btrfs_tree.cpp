// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/btrfs_tree.hpp"

#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kAnswerBytes = 1 * kMiB;

/// The next key behind that of an item. False when there is none.
bool step_behind(const btrfs_ioctl_search_header& item, btrfs_ioctl_search_key& key) {
  key.min_objectid = item.objectid;
  key.min_type = item.type;
  key.min_offset = item.offset;
  if (++key.min_offset != 0) return true;
  if (++key.min_type <= std::numeric_limits<std::uint8_t>::max()) return true;
  key.min_type = 0;
  return ++key.min_objectid != 0;
}

}  // namespace

void for_each_btrfs_item(int root, std::uint64_t tree, const TakeBtrfsItem& take) {
  using Arguments = btrfs_ioctl_search_args_v2;
  Bytes buffer(sizeof(Arguments) + kAnswerBytes);
  Arguments arguments{};
  arguments.buf_size = kAnswerBytes;
  arguments.key.tree_id = tree;
  arguments.key.max_objectid = arguments.key.max_offset = std::numeric_limits<std::uint64_t>::max();
  arguments.key.max_transid = std::numeric_limits<std::uint64_t>::max();
  arguments.key.max_type = std::numeric_limits<std::uint8_t>::max();
  for (bool more = true; more;) {
    arguments.key.nr_items = std::numeric_limits<std::uint32_t>::max();
    std::memcpy(buffer.data(), &arguments, sizeof(arguments));
    if (::ioctl(root, BTRFS_IOC_TREE_SEARCH_V2, buffer.data()) != 0) {
      throw system_error(errno, "cannot read", "its trees");
    }
    const std::uint32_t count = read_struct<Arguments>(buffer).key.nr_items;
    ByteView rest = ByteView(buffer).subspan(sizeof(arguments));
    btrfs_ioctl_search_header item{};
    for (std::uint32_t i = 0; i < count; ++i) {
      item = read_struct<btrfs_ioctl_search_header>(rest);
      rest = rest.subspan(sizeof(item));
      take(item, rest.first(item.len));
      rest = rest.subspan(item.len);
    }
    more = count > 0 && step_behind(item, arguments.key);
  }
}

}  // namespace vmpack
