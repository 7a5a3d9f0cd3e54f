// SPDX-License-Identifier: Apache-2.0
// Which references of a name stay, by rules that people set once.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// A reference stays when any of these keeps it. Days, weeks (from Monday), months and years are in UTC; of
/// each that has references, the newest is kept.
struct KeepRules {
  std::uint32_t last = 0;   ///< so many of the newest
  std::uint32_t daily = 0;  ///< the newest of so many days that have one
  std::uint32_t weekly = 0;
  std::uint32_t monthly = 0;
  std::uint32_t yearly = 0;
  std::vector<std::string> tags;  ///< patterns of tags that stay, with * and ?

  [[nodiscard]] bool empty() const { return last + daily + weekly + monthly + yearly == 0 && tags.empty(); }
};

struct KeepDecision {
  ReferenceEntry reference;
  std::vector<std::string> reasons;  ///< "last", "daily", "tag v*" ...; empty: it is forgotten
};

/// `references` are all of one name; the newest first in what is returned, by when they were last set.
[[nodiscard]] std::vector<KeepDecision> decide(std::vector<ReferenceEntry> references,
                                               const KeepRules& rules);

}  // namespace vmpack
