// SPDX-License-Identifier: Apache-2.0
#include "server/budget.hpp"

#include <vector>

#include "libvmpack/base/error.hpp"

namespace vmpack {

bool Budget::try_take(Claim claim) {
  const std::scoped_lock lock(mutex_);
  return try_take_locked(claim);
}

bool Budget::take(Claim claim, std::move_only_function<void()> granted) {
  const std::scoped_lock lock(mutex_);
  if (try_take_locked(claim)) return true;
  waiting_.push_back({claim, std::move(granted)});
  return false;
}

bool Budget::try_take_locked(Claim claim) {
  VMPACK_ASSERT(claim.requests <= limit_.requests && claim.bytes <= limit_.bytes);
  if (!waiting_.empty() || !fits(claim)) return false;
  taken_.requests += claim.requests;
  taken_.bytes += claim.bytes;
  return true;
}

void Budget::give_back(Claim claim) {
  std::vector<std::move_only_function<void()>> granted;
  {
    const std::scoped_lock lock(mutex_);
    VMPACK_ASSERT(claim.requests <= taken_.requests && claim.bytes <= taken_.bytes);
    taken_.requests -= claim.requests;
    taken_.bytes -= claim.bytes;
    while (!waiting_.empty() && fits(waiting_.front().claim)) {
      taken_.requests += waiting_.front().claim.requests;
      taken_.bytes += waiting_.front().claim.bytes;
      granted.push_back(std::move(waiting_.front().granted));
      waiting_.pop_front();
    }
  }
  for (auto& call : granted) call();
}

void Budget::forget_waiting() {
  std::deque<Waiting>
      dropped;  // declared before the lock, so destroyed after it: it may own whoever calls give_back()
  const std::scoped_lock lock(mutex_);
  dropped.swap(waiting_);
}

Claim Budget::taken() const {
  const std::scoped_lock lock(mutex_);
  return taken_;
}

bool Budget::fits(Claim claim) const {
  return claim.requests <= limit_.requests - taken_.requests && claim.bytes <= limit_.bytes - taken_.bytes;
}

}  // namespace vmpack
