// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/s3_client.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <random>
#include <thread>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uint64_t kSignedBodyBytesMax = 64 * kKiB;
constexpr unsigned kRegionsTriedMax = 2;

// Large bodies are not part of the signature: hashing them would cost more than sending them, and frames are
// checked by their digests whenever they are read.
std::string payload_hash(HttpBody* body) {
  if (body == nullptr || body->size() > kSignedBodyBytesMax)
    return body == nullptr ? sha256({}).hex() : "UNSIGNED-PAYLOAD";
  Bytes bytes(static_cast<std::size_t>(body->size()));
  for (std::size_t done = 0; done < bytes.size();) done += body->read(done, ByteSpan(bytes).subspan(done));
  return sha256(bytes).hex();
}

struct ContentRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
  std::uint64_t total = 0;
};

// "bytes 0-99/1000"
std::optional<ContentRange> parse_content_range(std::string_view text) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return std::nullopt;
  text.remove_prefix(kUnit.size());
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  if (dash == std::string_view::npos || slash == std::string_view::npos || dash > slash) return std::nullopt;
  const auto first = parse_number<std::uint64_t>(text.substr(0, dash));
  const auto last = parse_number<std::uint64_t>(text.substr(dash + 1, slash - dash - 1));
  const auto total = parse_number<std::uint64_t>(text.substr(slash + 1));
  if (!first || !last || !total) return std::nullopt;
  return ContentRange{*first, *last, *total};
}

void refuse(HttpReply& reply, std::string why) {
  reply.problem = HttpProblem::kBroken;
  reply.problem_text = std::move(why);
}

// An answer with other bytes than those asked for is no answer. It may be shorter, at the end of the value.
void check_range(const ByteRange& range, HttpReply& reply) {
  if (reply.status == 200) return refuse(reply, "it ignores ranges, and sends all of the value");
  if (reply.status != 206) return;
  const auto got = parse_content_range(reply.header("content-range"));
  if (!got || got->first != range.offset || got->last + 1 != std::min(range.end(), got->total) ||
      got->last + 1 - got->first != reply.bytes) {
    refuse(reply,
           fmt::format("bytes {} to {} were asked for, and others came", range.offset, range.end() - 1));
  }
}

// libcurl takes a connection that ends among the headers for an answer, and without a length it cannot tell
// where a value ends.
void check_whole(const S3Request& request, HttpReply& reply) {
  const bool is_value = !request.full_key.empty() && (request.method == "GET" || request.method == "HEAD");
  if (!is_value || reply.status >= 300) return;
  if (reply.status != 200) return refuse(reply, fmt::format("a value came with status {}", reply.status));
  if (!reply.content_length()) refuse(reply, "a value came without its length");
}

std::chrono::milliseconds asked_to_wait(const HttpReply& reply, std::chrono::milliseconds max) {
  const auto seconds = parse_number<std::uint32_t>(reply.header("retry-after"));
  return std::min<std::chrono::milliseconds>(std::chrono::seconds(seconds.value_or(0)), max);
}

std::string host_of(const S3Settings& settings, const std::string& region) {
  const std::string url = s3_url(settings, region, "");
  return url.substr(0, url.find('/', url.find("://") + 3));
}

}  // namespace

S3Client::S3Client(S3Settings settings) : settings_(std::move(settings)), http_(settings_.http) {}

S3Client::AccessPtr S3Client::access() {
  const std::lock_guard lock(mutex_);
  if (!access_) access_ = std::make_shared<const Access>(settings_.region, settings_.credentials());
  return access_;
}

bool S3Client::renew_access(const AccessPtr& used, const S3Reply& reply) {
  std::string region(reply.header("x-amz-bucket-region"));
  if (region.empty()) region = reply.error.region;
  const bool elsewhere =
      (reply.status == 301 || reply.status == 400) && is_region(region) && region != used->region;
  if (!elsewhere && !is_expired(reply.error)) return false;
  const std::lock_guard lock(mutex_);
  if (access_ != used) return true;  // another thread has done so
  Access renewed = *used;
  if (elsewhere) {
    if (regions_tried_++ == kRegionsTriedMax) return false;
    renewed.region = region;
  } else {
    renewed.credentials = settings_.credentials();
    if (renewed.credentials == used->credentials) return false;
  }
  access_ = std::make_shared<const Access>(std::move(renewed));
  return true;
}

S3Reply S3Client::send_once(const S3Request& request, const Access& access) {
  HttpRequest http{.method = request.method,
                   .url = s3_url(settings_, access.region, request.full_key),
                   .headers = request.headers,
                   .range = request.range,
                   .body = request.body,
                   .into = request.into,
                   .body_bytes_max = request.body_bytes_max};
  if (!request.query.empty()) http.url += "?" + request.query;
  http.headers.push_back("x-amz-content-sha256: " + payload_hash(request.body));
  if (!access.credentials.session_token.empty()) {
    http.headers.push_back("x-amz-security-token: " + access.credentials.session_token);
  }
  S3Reply reply{
      http_.perform(http, {access.region, access.credentials.access_key, access.credentials.secret_key}), {}};
  if (request.range && (reply.problem == HttpProblem::kNone || reply.status == 200)) {
    check_range(*request.range, reply);
  }
  if (!request.range && reply.problem == HttpProblem::kNone) check_whole(request, reply);
  if (reply.problem != HttpProblem::kNone) return reply;
  answered_ = true;
  const bool done = reply.status >= 200 && reply.status < 300;
  // Long work (CompleteMultipartUpload) begins its answer before it knows how it ends.
  if (!done || request.method == "POST") reply.error = parse_s3_error(reply.body);
  if (done && !reply.error.code.empty()) reply.status = 500;
  if (done || reply.error.code == "NoSuchKey") bucket_seen_ = true;
  return reply;
}

S3Reply S3Client::explained(const S3Request& request, const Access& access, S3Reply reply) {
  const bool is_plain_answer =
      reply.status < 300 || reply.status >= 500 || (reply.status == 404 && bucket_seen_);
  if (request.method != "HEAD" || reply.problem != HttpProblem::kNone || is_plain_answer) return reply;
  std::byte one{};
  S3Request get = request;
  get.method = "GET";
  get.range = ByteRange{0, 1};
  get.into = ByteSpan(&one, 1);
  S3Reply explanation = send_once(get, access);
  const bool fails_too =
      explanation.problem == HttpProblem::kNone && explanation.status >= 300 && explanation.status != 416;
  if (fails_too) return explanation;
  if (reply.status != 404)
    refuse(reply, fmt::format("HEAD is answered with status {}, and GET is not", reply.status));
  return reply;
}

bool S3Client::is_answer(const S3Request& request, const S3Reply& reply) const {
  if (reply.problem != HttpProblem::kNone) return false;
  if (reply.status >= 200 && reply.status < 300) return true;
  return reply.error.code != "NoSuchBucket" &&
         std::ranges::find(request.answers, reply.status) != request.answers.end();
}

S3Reply S3Client::send(const S3Request& request) {
  const RetryPolicy& policy = settings_.retry;
  const auto deadline = Clock::now() + policy.give_up_after;
  for (unsigned attempt = 1;;) {
    const AccessPtr used = access();
    S3Reply reply = explained(request, *used, send_once(request, *used));
    if (is_answer(request, reply)) return reply;
    if (renew_access(used, reply)) continue;
    ++attempt;
    const auto wait =
        std::max(retry_wait(policy, attempt, std::random_device()()), asked_to_wait(reply, policy.wait_max));
    const unsigned attempts_max = answered_ ? policy.attempts_max : policy.attempts_max_unanswered;
    if (!is_transient(reply, reply.error) || attempt > attempts_max || Clock::now() + wait > deadline) {
      throw s3_error(reply, reply.error, request.doing, {settings_.bucket, host_of(settings_, used->region)});
    }
    std::this_thread::sleep_for(wait);
  }
}

}  // namespace vmpack
