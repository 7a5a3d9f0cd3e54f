// SPDX-License-Identifier: Apache-2.0
// Sends one value to a bucket, in one request or in several parts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "libvmpack/store/s3/http_body.hpp"
#include "libvmpack/store/s3/s3_client.hpp"

namespace vmpack {

/// The header with what names a put: the same in all of its requests, and kept with the value.
inline constexpr std::string_view kPutIdHeader = "x-amz-meta-vmpack-put";

struct S3Upload {
  std::string full_key;
  std::string put_id;
  std::string condition;  ///< "If-None-Match: *", "If-Match: TAG", or empty
  std::string doing;      ///< for messages: "cannot write s3://bucket/key"
  /// Asked before parts become a value, for servers that heed no condition there. False gives up.
  std::function<bool()> still_wanted;
};

/// True when the server says that it stored the value; false when it says that the condition does not hold.
/// After a lost answer that may be this very put's work: the caller reads the put's id. Nothing is left of
/// parts that did not become a value, unless the server is out of reach.
[[nodiscard]] bool send_value(S3Client& client, const S3Upload& upload, HttpBody& body);

}  // namespace vmpack
