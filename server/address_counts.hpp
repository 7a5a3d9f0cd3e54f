// SPDX-License-Identifier: Apache-2.0
// How many connections each IP address has.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>

#include "server/access.hpp"

namespace vmpack {

/// Any thread.
class AddressCounts {
 public:
  /// False: the address has `most` already.
  [[nodiscard]] bool add(const IpAddress& address, std::uint64_t most) {
    const std::scoped_lock lock(mutex_);
    std::uint64_t& count = counts_[address.bytes];
    if (count >= most) return false;
    ++count;
    return true;
  }
  void remove(const IpAddress& address) {
    const std::scoped_lock lock(mutex_);
    const auto found = counts_.find(address.bytes);
    if (--found->second == 0) counts_.erase(found);
  }

 private:
  std::mutex mutex_;
  std::map<decltype(IpAddress::bytes), std::uint64_t> counts_;
};

}  // namespace vmpack
