// SPDX-License-Identifier: Apache-2.0
// What `vmpack inspect` found, as one HTML page without script and without anything from outside.
#pragma once

#include <string>

#include "tools/report/image_facts.hpp"

namespace vmpack::cli {

/// The whole file. The same facts give the same page.
[[nodiscard]] std::string inspect_page(const ImageFacts& facts);

}  // namespace vmpack::cli
