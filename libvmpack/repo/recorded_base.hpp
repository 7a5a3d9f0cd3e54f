// SPDX-License-Identifier: Apache-2.0
// Which snapshot an overlay says it lies on: the name of its backing file, where that is one of ours.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "libvmpack/repo/repository.hpp"

namespace vmpack {

/// The snapshot's name in the name of a backing file: the export of an NBD address in any of the forms that
/// QEMU writes (a URI, "nbd:…:exportname=", "json:{…}"), or the last part of a path where that is
/// "name@digest". nullopt for anything else.
[[nodiscard]] std::optional<std::string> reference_in_backing_name(std::string_view backing);

enum class RecordedBase : std::uint8_t {
  kMatches,
  kUnknown,  ///< the name tells nothing of a snapshot
};

/// Holds the name of an overlay's backing file against the snapshot that the user calls its base. Throws
/// kRefused where it names another one: by its digest, or, unless `may_have_moved`, by a tag that points
/// elsewhere now, or nowhere.
RecordedBase check_recorded_base(const Repository& repository, const SnapshotDigest& base,
                                 std::string_view backing, bool may_have_moved);

}  // namespace vmpack
