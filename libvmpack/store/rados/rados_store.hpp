// SPDX-License-Identifier: Apache-2.0
// A store in a namespace of a pool of a Ceph cluster, by librados.
#pragma once

#include <memory>

#include "libvmpack/store/rados/rados_location.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// Connects. Throws kNotFound without the pool, kIo when the cluster does not answer in time or refuses the
/// user, kUnsupported where librados is not installed.
[[nodiscard]] std::unique_ptr<Store> open_rados_store(const RadosLocation& location);

}  // namespace vmpack
