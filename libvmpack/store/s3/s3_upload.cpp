// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/s3_upload.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kPartsMax = 10'000;

// What a condition that does not hold is told by; 404 for If-Match without a value, or an upload that has
// ended.
const std::vector<int> kConditionFailed{404, 412};

std::string put_id_header(const S3Upload& upload) {
  return fmt::format("{}: {}", kPutIdHeader, upload.put_id);
}

/// Parts on the server; removed there unless they became a value.
class Parts {
 public:
  Parts(S3Client& client, const S3Upload& upload) : client_(client), upload_(upload) {
    S3Request request = request_of("POST", "uploads=");
    request.headers = {put_id_header(upload)};
    PartsBody nothing({});
    request.body = &nothing;
    id_ = escape_url(parse_s3_upload_id(client.send(request).body, upload.doing));
  }
  ~Parts() {
    if (done_) return;
    try {
      S3Request request = request_of("DELETE", "uploadId=" + id_);
      request.answers = {404};
      static_cast<void>(client_.send(request));
    } catch (const std::exception&) {
      // The bucket's own rules remove what is left; what failed before is the error to tell.
    }
  }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  void send(HttpBody& part) {
    S3Request request = request_of("PUT", fmt::format("partNumber={}&uploadId={}", tags_.size() + 1, id_));
    request.body = &part;
    const S3Reply reply = client_.send(request);
    const std::string_view tag = reply.header("etag");
    constexpr std::string_view kCharacters =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789\"+/=_.-";
    if (tag.empty() || tag.find_first_not_of(kCharacters) != std::string_view::npos) {
      throw Error(ErrorCode::kDamaged,
                  upload_.doing + ": the server's answer is none that S3 gives: a part has no tag");
    }
    tags_.emplace_back(tag);
  }

  bool complete() {
    const std::string xml = make_s3_complete(tags_);
    const ByteView bytes = as_byte_view(xml);
    PartsBody body(std::span(&bytes, 1));
    S3Request request = request_of("POST", "uploadId=" + id_);
    request.body = &body;
    request.answers = kConditionFailed;
    if (!upload_.condition.empty()) request.headers = {upload_.condition};
    const S3Reply reply = client_.send(request);
    if (reply.status >= 300) return false;
    if (!is_s3_completed(reply.body)) {
      throw Error(ErrorCode::kDamaged,
                  upload_.doing + ": the server does not say that the parts became a value");
    }
    done_ = true;
    return true;
  }

 private:
  [[nodiscard]] S3Request request_of(std::string method, std::string query) const {
    return {.method = std::move(method),
            .full_key = upload_.full_key,
            .query = std::move(query),
            .body_bytes_max = limits::kS3ErrorBytesMax,
            .doing = upload_.doing};
  }

  S3Client& client_;
  const S3Upload& upload_;
  std::string id_;  // escaped
  std::vector<std::string> tags_;
  bool done_ = false;
};

bool send_in_parts(S3Client& client, const S3Upload& upload, HttpBody& body) {
  const std::uint64_t part_bytes = std::max(client.settings().part_bytes, divide_up(body.size(), kPartsMax));
  Parts parts(client, upload);
  for (std::uint64_t offset = 0; offset < body.size(); offset += part_bytes) {
    BodyRange part(body, offset, std::min(part_bytes, body.size() - offset));
    parts.send(part);
  }
  return upload.still_wanted() && parts.complete();
}

}  // namespace

bool send_value(S3Client& client, const S3Upload& upload, HttpBody& body) {
  if (body.size() > client.settings().single_put_bytes_max) return send_in_parts(client, upload, body);
  S3Request request{.method = "PUT",
                    .full_key = upload.full_key,
                    .headers = {put_id_header(upload)},
                    .body = &body,
                    .body_bytes_max = limits::kS3ErrorBytesMax,
                    .answers = {},
                    .doing = upload.doing};
  if (!upload.condition.empty()) {
    request.headers.push_back(upload.condition);
    request.answers = kConditionFailed;
  }
  return client.send(request).status < 300;
}

}  // namespace vmpack
