// SPDX-License-Identifier: Apache-2.0
// What a server allows and asks for: an immutable value that a reload replaces as a whole. A connection keeps
// the one that it began with.
#pragma once

#include <memory>
#include <mutex>

#include "server/access.hpp"
#include "server/limits.hpp"
#include "server/settings.hpp"
#include "server/tls.hpp"
#include "server/tokens.hpp"

namespace vmpack {

struct Policy {
  ServerLimits limits;
  TlsMode nbd_tls = TlsMode::kOff;
  bool https = false;
  std::shared_ptr<TlsServer> tls;  ///< null: none
  AccessRules access;
  Tokens tokens;
};
using PolicyPtr = std::shared_ptr<const Policy>;

/// Reads the files that the settings name. Throws Error when one cannot be used.
[[nodiscard]] PolicyPtr make_policy(const Settings& settings);

/// The policy that new connections take. Any thread.
class CurrentPolicy {
 public:
  explicit CurrentPolicy(PolicyPtr policy) : policy_(std::move(policy)) {}

  [[nodiscard]] PolicyPtr get() const {
    const std::scoped_lock lock(mutex_);
    return policy_;
  }
  void set(PolicyPtr policy) {
    const std::scoped_lock lock(mutex_);
    policy_.swap(policy);
  }

 private:
  mutable std::mutex mutex_;
  PolicyPtr policy_;
};

}  // namespace vmpack
