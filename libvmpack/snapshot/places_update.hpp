// SPDX-License-Identifier: Apache-2.0
// Replaces files of places.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "libvmpack/snapshot/places.hpp"

namespace vmpack {

/// The file for `snapshot` with all that `known` has, each place where `now` says that it is, or dropped, and
/// `more`.
[[nodiscard]] Bytes move_places(
    const SnapshotDigest& snapshot, const Places& known,
    const std::function<std::optional<FrameLocation>(std::uint64_t prefix, const FrameLocation& location)>&
        now,
    std::span<const FramePlace> more);

/// Writes the places of a snapshot that needs `places` alone. A file that has all of them stays: gc may have
/// moved frames since its writer found them.
void put_places(Store& store, const SnapshotDigest& snapshot, std::span<const FramePlace> places);

}  // namespace vmpack
