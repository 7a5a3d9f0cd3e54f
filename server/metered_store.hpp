// SPDX-License-Identifier: Apache-2.0
// A store whose answers are timed.
#pragma once

#include <memory>

#include "libvmpack/store/store.hpp"
#include "server/metrics.hpp"

namespace vmpack {

/// `store`, with every reading operation counted in `metrics`, which must outlive it.
[[nodiscard]] std::unique_ptr<Store> meter_store(std::unique_ptr<Store> store, ServerMetrics& metrics);

}  // namespace vmpack
