// SPDX-License-Identifier: Apache-2.0
// What 'vmpack doctor' looks at. Each check finds out, and says what to do; none of them throws.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "libvmpack/repo/repository.hpp"

namespace vmpack::cli::doctor {

enum class Verdict : std::uint8_t { kOk, kWarning, kProblem };

struct Check {
  std::string name;
  Verdict verdict = Verdict::kOk;
  std::string found;
  std::string advice{};  ///< empty when there is nothing to do
};

/// Programs and devices of this host.
[[nodiscard]] std::vector<Check> check_host();
/// Starts a machine that ends at once, and does not wait for it for ever: a /dev/kvm may be there and broken.
/// The verdict is remembered for what else would use KVM on this host until it boots.
[[nodiscard]] Check check_kvm();

/// `location` as --repo takes it. Opens it into `repository` when that works.
[[nodiscard]] std::vector<Check> check_repository(const std::string& location,
                                                  std::shared_ptr<const Repository>& repository);

/// Asks the server for `name`, which must be `image_bytes` long.
[[nodiscard]] Check check_server(const std::string& uri, const std::string& name, std::uint64_t image_bytes);

}  // namespace vmpack::cli::doctor
