// SPDX-License-Identifier: Apache-2.0
// Several SHA-256 at once on one core, by the processor's SHA instructions.
#pragma once

#include <span>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"

namespace vmpack {

/// Whether this processor has what sha256_in_lanes() needs.
[[nodiscard]] bool has_sha256_lanes();

/// As sha256_each(). Only where has_sha256_lanes(). One SHA-256 is a chain in which each instruction waits
/// for the one before it; two that have nothing to do with each other take hardly longer than one.
void sha256_in_lanes(std::span<const ByteView> inputs, std::span<Digest> digests);

}  // namespace vmpack
