// SPDX-License-Identifier: Apache-2.0
// What an S3 server's refusals mean, in words that say what to do. Pure.
#pragma once

#include <string>
#include <string_view>

#include "libvmpack/base/error.hpp"
#include "libvmpack/store/s3/http.hpp"
#include "libvmpack/store/s3/s3_xml.hpp"

namespace vmpack {

/// Where a request went, for messages.
struct S3Place {
  std::string bucket;
  std::string endpoint;  ///< as in "https://s3.eu-central-1.amazonaws.com"
};

/// True for what passes by itself: the same request may be sent again.
[[nodiscard]] bool is_transient(const HttpReply& reply, const S3ErrorBody& body);

/// True when other credentials would help, and those in use were once good.
[[nodiscard]] bool is_expired(const S3ErrorBody& body);

/// The error of a request that failed for good. `doing` is "cannot read s3://bucket/key".
[[nodiscard]] Error s3_error(const HttpReply& reply, const S3ErrorBody& body, std::string_view doing,
                             const S3Place& place);

}  // namespace vmpack
