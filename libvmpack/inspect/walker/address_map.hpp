// SPDX-License-Identifier: Apache-2.0
// How addresses of one layer lie in the layer below: a logical volume on its partitions, a partition on its
// disk, btrfs's own addresses on its device.
#pragma once

#include <cstdint>
#include <vector>

#include "libvmpack/base/units.hpp"

namespace vmpack {

/// A stretch of `length` bytes that begins at `from` above and at `to` below.
struct AddressRun {
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  std::uint64_t length = 0;

  friend bool operator==(const AddressRun&, const AddressRun&) = default;
};

class AddressMap {
 public:
  AddressMap() = default;
  /// In any order. Throws Error (kDamaged) when two runs overlap above, or an end cannot be counted.
  explicit AddressMap(std::vector<AddressRun> runs);

  /// Appends where `range` lies below, in its own order. False, and nothing appended, when some of it lies
  /// nowhere.
  bool translate(ByteRange range, std::vector<ByteRange>& pieces) const;
  /// This map with `below` behind it. What `below` does not know is left out.
  [[nodiscard]] AddressMap over(const AddressMap& below) const;

  /// Sorted by `from`.
  [[nodiscard]] const std::vector<AddressRun>& runs() const { return runs_; }

 private:
  std::vector<AddressRun> runs_;
};

}  // namespace vmpack
