// SPDX-License-Identifier: Apache-2.0
// Asks a web server for one small answer.
#pragma once

#include <cstdint>
#include <string>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

/// The body of the answer to a GET of an http:// or https:// URL; redirects are not followed. Throws kIo when
/// there is no such answer (200), kLimit when it is larger than `bytes_max`, kUnsupported without libcurl.
[[nodiscard]] Bytes http_get(const std::string& url, std::uint64_t bytes_max);

}  // namespace vmpack
