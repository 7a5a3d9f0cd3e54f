// SPDX-License-Identifier: Apache-2.0
// A store in an S3 bucket.
#pragma once

#include <memory>

#include "libvmpack/store/s3/s3_settings.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// Asks nothing of the server yet. Throws kUnsupported without libcurl.
[[nodiscard]] std::unique_ptr<Store> open_s3_store(S3Settings settings);

}  // namespace vmpack
