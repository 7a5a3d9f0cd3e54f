// SPDX-License-Identifier: Apache-2.0
#include "server/daemon/descriptors.hpp"

#include <sys/resource.h>

#include <algorithm>

namespace vmpack {
namespace {

/// Files of the store that are kept open, those that workers read meanwhile, and the process's own.
constexpr std::uint64_t kOwnDescriptors = 192;
constexpr std::uint64_t kThreadDescriptors = 4;  // of a network thread's loop

}  // namespace

std::uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return kOwnDescriptors;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_cur;
}

std::uint64_t connections_below(std::uint64_t descriptors, std::uint64_t network_threads) {
  const std::uint64_t own = kOwnDescriptors + kThreadDescriptors * network_threads;
  return std::max<std::uint64_t>(1, descriptors - std::min(descriptors, own));
}

}  // namespace vmpack
