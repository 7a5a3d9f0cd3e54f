// SPDX-License-Identifier: Apache-2.0
// How two texts differ, line by line.
#pragma once

#include <string>

#include "libvmpack/source/temp_image.hpp"

namespace vmpack::cli {

/// A text, and what it is called in the result.
struct LabelledText {
  std::string label;
  TempImage text;  ///< finished
};

/// In the unified format, as diff(1) finds it in a sandbox; empty when they are the same. Throws kNotFound
/// when there is no such program, kIo when it fails.
[[nodiscard]] std::string unified_diff(const LabelledText& before, const LabelledText& after);

}  // namespace vmpack::cli
