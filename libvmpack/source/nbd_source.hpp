// SPDX-License-Identifier: Apache-2.0
// An image behind an NBD server: one that we started (qemu-nbd), or the user's own.
#pragma once

#include <memory>

#include "libvmpack/source/nbd_connection.hpp"
#include "libvmpack/source/qemu.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

/// `server` is what serves the endpoint, or null when that is somebody else's. Throws Error as open_source()
/// does.
[[nodiscard]] std::unique_ptr<Source> open_nbd(const NbdEndpoint& endpoint, std::unique_ptr<QemuNbd> server,
                                               SourceFacts facts);

}  // namespace vmpack
