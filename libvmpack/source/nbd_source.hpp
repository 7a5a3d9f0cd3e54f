// SPDX-License-Identifier: Apache-2.0
// An image behind an NBD server: one that we started (qemu-nbd), or the user's own.
#pragma once

#include <memory>
#include <string>

#include "libvmpack/source/changes.hpp"
#include "libvmpack/source/nbd_connection.hpp"
#include "libvmpack/source/qemu.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// `server` is what serves the endpoint, or null when that is somebody else's. Throws Error as open_source()
/// does.
[[nodiscard]] std::unique_ptr<Source> open_nbd(const NbdEndpoint& endpoint, std::unique_ptr<QemuNbd> server,
                                               SourceFacts facts);
/// The same, with what the server's `context` calls changed. Throws kNotFound where it does not know it, and
/// kLimit for changes in too many pieces.
[[nodiscard]] Changes open_nbd_changes(const NbdEndpoint& endpoint, std::unique_ptr<QemuNbd> server,
                                       SourceFacts facts, const std::string& context);

}  // namespace vmpack
