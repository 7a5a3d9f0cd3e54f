// SPDX-License-Identifier: Apache-2.0
// Where an S3 store is, and how to get in: from its URL, the AWS_* variables and AWS's files, in this order.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "libvmpack/base/units.hpp"
#include "libvmpack/store/s3/http.hpp"
#include "libvmpack/store/s3/retry.hpp"

namespace vmpack {

/// Never printed.
struct S3Credentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  ///< empty: none
  friend bool operator==(const S3Credentials&, const S3Credentials&) = default;
};

struct S3Settings {
  std::string bucket;
  std::string prefix;    ///< that all keys of the store lie below, without a '/' around it; may be empty
  std::string endpoint;  ///< a URL without a '/' at its end; empty: AWS's own for the region
  std::string region;
  bool virtual_host = false;  ///< the bucket is named in the host, not in the path
  /// Read anew when the store says that those before have expired. Any thread.
  std::function<S3Credentials()> credentials;

  HttpSettings http;
  RetryPolicy retry;
  /// Larger values are sent in several parts (16 GiB at most: limits::kIndexFileBytesMax).
  std::uint64_t single_put_bytes_max = 128 * kMiB;
  std::uint64_t part_bytes = 32 * kMiB;
  /// Of values whose key is not yet known, all together; what is over it waits in a temporary file.
  std::uint64_t spool_memory_bytes = 160 * kMiB;
};

/// Reads the value of an environment variable; nullopt when it is not set, or empty.
using Environment = std::function<std::optional<std::string>(const std::string& name)>;

/// The process's own.
[[nodiscard]] Environment process_environment();

/// `location` is s3://BUCKET[/PREFIX][?style=path|virtual][&endpoint=URL][&region=NAME][&profile=NAME].
/// Throws kInvalid for a malformed one, and kNotFound without credentials, or when a profile that was named
/// is in no file.
[[nodiscard]] S3Settings s3_settings(std::string_view location, const Environment& environment);

/// Whether it may be a region's name: some come from servers, and become part of a host's name.
[[nodiscard]] bool is_region(std::string_view name);

/// The URL of a key (which must not be empty), or with an empty one of the bucket.
[[nodiscard]] std::string s3_url(const S3Settings& settings, std::string_view region,
                                 std::string_view full_key);

}  // namespace vmpack
