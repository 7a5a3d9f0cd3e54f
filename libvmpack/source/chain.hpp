// SPDX-License-Identifier: Apache-2.0
// Finds every file that an image is read through, and refuses those that an image must not reach: it may have
// been uploaded by somebody who would like to read a file of this host.
#pragma once

#include <cstdint>
#include <string>

#include "libvmpack/source/qemu.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

inline constexpr std::size_t kChainDepthMax = 64;

/// Walks the chain below the image at `path` (canonical) of which `format` is known; `confirmed` as in
/// DetectedFormat. Each file that a layer names is resolved from that layer's folder and must lie below
/// `backing_root` (canonical). Checks the tables of every layer. Throws Error: kRefused (outside, not a
/// file), kNotFound, kInvalid (a loop, an image that must be confirmed), kLimit, kDamaged, kUnsupported.
[[nodiscard]] ImageChain resolve_chain(const std::string& path, const std::string& format, bool confirmed,
                                       const std::string& backing_root);

}  // namespace vmpack
