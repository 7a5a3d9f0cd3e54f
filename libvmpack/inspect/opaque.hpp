// SPDX-License-Identifier: Apache-2.0
// What people are told of a volume whose files are not known.
#pragma once

#include <string>

#include "libvmpack/inspect/layout.hpp"

namespace vmpack {

/// What the volume holds by its type, and what is lost because its files are not known: one line. Empty where
/// nothing is lost (swap, boot loaders), and for file systems that are read in another way. Whether the
/// volume holds any data is not looked at.
[[nodiscard]] std::string opaque_warning(const Volume& volume);

}  // namespace vmpack
