// SPDX-License-Identifier: Apache-2.0
// The XML that S3 speaks, read with suspicion: bounded, without document types, and only what is looked for.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

/// What an error says; both empty when the body is none that S3 sends.
struct S3ErrorBody {
  std::string code;     ///< NoSuchKey, AccessDenied ...
  std::string message;  ///< for people; as the server wrote it
  std::string region;   ///< where the bucket is, if it says so
};

struct S3ListedKey {
  std::string key;
  std::uint64_t bytes = 0;
};

struct S3ListPage {
  std::vector<S3ListedKey> keys;
  std::string next_token;  ///< empty on the last page
};

/// Never throws: whatever comes is only used for messages and decisions to try again.
[[nodiscard]] S3ErrorBody parse_s3_error(ByteView xml) noexcept;

/// An answer to ListObjectsV2 with encoding-type=url. `where` is for messages. Throws kDamaged when it is not
/// one.
[[nodiscard]] S3ListPage parse_s3_list(ByteView xml, std::string_view where);

/// The upload's id in an answer to CreateMultipartUpload. Throws kDamaged.
[[nodiscard]] std::string parse_s3_upload_id(ByteView xml, std::string_view where);

/// Whether an answer to CompleteMultipartUpload says that it is done; with status 200 it may be an error as
/// well.
[[nodiscard]] bool is_s3_completed(ByteView xml) noexcept;

/// The body of CompleteMultipartUpload, from the parts' entity tags in their order.
[[nodiscard]] std::string make_s3_complete(std::span<const std::string> entity_tags);

}  // namespace vmpack
