// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/walker/address_map.hpp"

#include <algorithm>
#include <limits>

#include "libvmpack/base/error.hpp"

namespace vmpack {

AddressMap::AddressMap(std::vector<AddressRun> runs) : runs_(std::move(runs)) {
  std::erase_if(runs_, [](const AddressRun& run) { return run.length == 0; });
  std::ranges::sort(runs_, {}, &AddressRun::from);
  std::uint64_t mapped_to = 0;
  for (const AddressRun& run : runs_) {
    const std::uint64_t room = std::numeric_limits<std::uint64_t>::max() - std::max(run.from, run.to);
    if (run.from < mapped_to || run.length > room) {
      throw Error(ErrorCode::kDamaged, "its map of addresses makes no sense");
    }
    mapped_to = run.from + run.length;
  }
}

bool AddressMap::translate(ByteRange range, std::vector<ByteRange>& pieces) const {
  const std::size_t before = pieces.size();
  auto run = std::ranges::upper_bound(runs_, range.offset, {}, &AddressRun::from);
  if (run != runs_.begin()) --run;
  for (; range.length > 0; ++run) {
    if (run == runs_.end() || range.offset < run->from || range.offset - run->from >= run->length) {
      pieces.resize(before);
      return false;
    }
    const std::uint64_t into = range.offset - run->from;
    const std::uint64_t length = std::min(range.length, run->length - into);
    pieces.push_back({run->to + into, length});
    range.offset += length;
    range.length -= length;
  }
  return true;
}

AddressMap AddressMap::over(const AddressMap& below) const {
  std::vector<AddressRun> through;
  for (const AddressRun& run : runs_) {
    for (const AddressRun& under : below.runs_) {
      const std::uint64_t begin = std::max(run.to, under.from);
      const std::uint64_t end = std::min(run.to + run.length, under.from + under.length);
      if (begin < end)
        through.push_back({run.from + (begin - run.to), under.to + (begin - under.from), end - begin});
    }
  }
  return AddressMap(std::move(through));
}

}  // namespace vmpack
