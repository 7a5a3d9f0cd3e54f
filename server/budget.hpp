// SPDX-License-Identifier: Apache-2.0
// Requests and bytes that all connections together may have in flight. Who does not get a share waits in
// line.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

namespace vmpack {

struct Claim {
  std::uint64_t requests = 0;
  std::uint64_t bytes = 0;
};

/// Every method may be called from any thread.
class Budget {
 public:
  /// A claim larger than `limit` could never be met, and must not be made.
  explicit Budget(Claim limit) : limit_(limit) {}

  /// True: the claim is taken. False: it does not fit now, or others are in line.
  [[nodiscard]] bool try_take(Claim claim);
  /// True: the claim is taken. False: it will be, and then `granted` is called once, by the thread that made
  /// room; it must be quick and must not throw. First come, first served.
  [[nodiscard]] bool take(Claim claim, std::move_only_function<void()> granted);

  void give_back(Claim claim);

  /// Drops everyone in line without a call.
  void forget_waiting();

  [[nodiscard]] Claim taken() const;

 private:
  struct Waiting {
    Claim claim;
    std::move_only_function<void()> granted;
  };
  /// Callers hold the mutex.
  [[nodiscard]] bool fits(Claim claim) const;
  [[nodiscard]] bool try_take_locked(Claim claim);

  const Claim limit_;
  mutable std::mutex mutex_;
  Claim taken_;
  std::deque<Waiting> waiting_;
};

/// A claim that was taken, given back at the end of a scope.
class BudgetShare {
 public:
  BudgetShare(Budget& budget, Claim claim) : budget_(budget), claim_(claim) {}
  BudgetShare(const BudgetShare&) = delete;
  BudgetShare& operator=(const BudgetShare&) = delete;
  ~BudgetShare() { budget_.give_back(claim_); }

  /// Gives back what is more than `bytes`.
  void shrink_to(std::uint64_t bytes) {
    if (bytes >= claim_.bytes) return;
    budget_.give_back({0, claim_.bytes - bytes});
    claim_.bytes = bytes;
  }

 private:
  Budget& budget_;
  Claim claim_;
};

}  // namespace vmpack
