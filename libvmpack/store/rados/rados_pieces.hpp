// SPDX-License-Identifier: Apache-2.0
// The pieces of large values, and the time by which they are judged. The first piece is written before the
// others and removed after them, and names the key that its value got: so what a killed writer or remover
// left can be told from what is in use.
#pragma once

#include <cstdint>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/store/rados/rados_head.hpp"
#include "libvmpack/store/rados/rados_pool.hpp"

namespace vmpack {

/// Pieces that no value has are leftovers when they are older than this.
inline constexpr std::int64_t kRadosLeftoverSeconds = 24 * 3600;

/// Seconds since 1970 by the cluster's clock (the one of an OSD), whatever this machine's says. Needs the
/// right to write, and the first time in a namespace makes an object for it. Throws Error.
[[nodiscard]] std::int64_t rados_now(RadosPool& pool);

/// Fills `into` from `offset`, both inside the value; pieces are read side by side. 0 or a negative error
/// number: ENOENT when a piece is gone, EIO when one is too short.
[[nodiscard]] int read_rados_pieces(RadosPool& pool, const RadosHead& head, std::uint64_t offset,
                                    ByteSpan into);

/// Removes pieces 0 to `count` - 1, the first one last. 0 or the first error number; those not there are no
/// error.
int remove_rados_pieces(RadosPool& pool, const std::string& version, std::uint64_t count);

/// Removes the pieces of values that were never put, or are removed, if they are older than `seconds`. A
/// writer that is slower than that is told so when it puts its value.
void remove_rados_leftovers(RadosPool& pool, std::int64_t seconds);

}  // namespace vmpack
