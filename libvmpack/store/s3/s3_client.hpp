// SPDX-License-Identifier: Apache-2.0
// Requests to one S3 bucket: signed, tried again when that may help, and refused in words.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "libvmpack/store/s3/http.hpp"
#include "libvmpack/store/s3/s3_error.hpp"
#include "libvmpack/store/s3/s3_settings.hpp"
#include "libvmpack/store/s3/s3_xml.hpp"

namespace vmpack {

struct S3Request {
  std::string method;
  std::string full_key;  ///< with the store's prefix; empty: the bucket itself
  std::string query;     ///< escaped, its names sorted, each with a '='
  std::vector<std::string> headers;
  std::optional<ByteRange> range;
  HttpBody* body = nullptr;
  ByteSpan into;                     ///< for `range`: as long as that is
  std::uint64_t body_bytes_max = 0;  ///< of an answer without `into`
  std::vector<int> answers;          ///< statuses that are no errors, besides those of success
  std::string doing;                 ///< for messages: "cannot read s3://bucket/key"
};

struct S3Reply : HttpReply {
  S3ErrorBody error;
};

/// Any thread.
class S3Client {
 public:
  explicit S3Client(S3Settings settings);

  /// Sends until there is an answer. A request whose answer was lost is sent again, so it may have been
  /// carried out before. Throws what s3_error.hpp says; a missing bucket is an error even if 404 is an
  /// answer.
  [[nodiscard]] S3Reply send(const S3Request& request);

  [[nodiscard]] const S3Settings& settings() const { return settings_; }

 private:
  struct Access {
    std::string region;
    S3Credentials credentials;
  };
  using AccessPtr = std::shared_ptr<const Access>;

  [[nodiscard]] AccessPtr access();
  [[nodiscard]] S3Reply send_once(const S3Request& request, const Access& access);
  // Why a HEAD failed, whose answer has no body: asks for one byte by GET.
  [[nodiscard]] S3Reply explained(const S3Request& request, const Access& access, S3Reply reply);
  // True when another region or newer credentials may help.
  [[nodiscard]] bool renew_access(const AccessPtr& used, const S3Reply& reply);
  [[nodiscard]] bool is_answer(const S3Request& request, const S3Reply& reply) const;

  const S3Settings settings_;
  HttpClient http_;
  std::atomic<bool> answered_ = false;     // by anything that speaks HTTP
  std::atomic<bool> bucket_seen_ = false;  // so that 404 means the key
  std::mutex mutex_;
  AccessPtr access_;  // guarded by mutex_, as the next
  unsigned regions_tried_ = 0;
};

}  // namespace vmpack
