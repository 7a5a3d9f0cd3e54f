// SPDX-License-Identifier: Apache-2.0
// Which volumes of two images are versions of each other.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "libvmpack/snapshot/manifest.hpp"

namespace vmpack {

/// For each of `after` the position of its counterpart in `before`; no two have the same. They share their
/// UUID; or else their number and name, and either both or none of them have files; or else they are the only
/// ones left that have files; or else they share at least number and name.
[[nodiscard]] std::vector<std::optional<std::size_t>> match_volumes(const std::vector<VolumeSummary>& before,
                                                                    const std::vector<VolumeSummary>& after);

}  // namespace vmpack
