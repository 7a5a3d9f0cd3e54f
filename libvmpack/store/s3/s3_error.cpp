// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/store/s3/s3_error.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <span>

#include "libvmpack/base/format_text.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kMessageBytesMax = 200;

/// {0} is the bucket, {1} the endpoint.
struct Meaning {
  std::string_view code;
  ErrorCode error;
  std::string_view what;
  std::string_view hint;
};

constexpr std::string_view kMakeBucket =
    "make the bucket first ('aws s3 mb s3://{0}', say), or check its name and AWS_ENDPOINT_URL";
constexpr std::string_view kRenew =
    "get new ones, and run the command again; what was committed before is unharmed";
constexpr std::string_view kMakeRoom =
    "make room there, or raise the quota, and run the command again; what was "
    "committed before is unharmed";
constexpr std::string_view kPermissions =
    "reading needs s3:GetObject and s3:ListBucket, writing also s3:PutObject, "
    "s3:DeleteObject and s3:AbortMultipartUpload, on bucket and prefix";
constexpr std::string_view kSetRegion = "set AWS_REGION to the bucket's region";

constexpr std::array kMeanings{
    Meaning{"NoSuchBucket", ErrorCode::kNotFound, "there is no bucket {0} at {1}", kMakeBucket},
    Meaning{"InvalidBucketName", ErrorCode::kInvalid, "{0} is no bucket's name at {1}", kMakeBucket},
    Meaning{"NoSuchKey", ErrorCode::kNotFound, "it is not there", ""},
    Meaning{"InvalidAccessKeyId", ErrorCode::kRefused, "{1} does not know the access key",
            "check AWS_ACCESS_KEY_ID, or the profile"},
    Meaning{"SignatureDoesNotMatch", ErrorCode::kRefused, "{1} refuses the signature",
            "check AWS_SECRET_ACCESS_KEY (or the profile) and AWS_REGION"},
    Meaning{"ExpiredToken", ErrorCode::kRefused, "the credentials have expired", kRenew},
    Meaning{"ExpiredTokenException", ErrorCode::kRefused, "the credentials have expired", kRenew},
    Meaning{"TokenRefreshRequired", ErrorCode::kRefused, "the credentials have expired", kRenew},
    Meaning{"InvalidToken", ErrorCode::kRefused, "{1} refuses the session token",
            "check AWS_SESSION_TOKEN: it belongs to one pair of keys"},
    Meaning{"AccessDenied", ErrorCode::kRefused, "these credentials may not do that", kPermissions},
    Meaning{"AllAccessDisabled", ErrorCode::kRefused, "the bucket is closed", "ask who owns it"},
    Meaning{"AccountProblem", ErrorCode::kRefused, "the account is closed", "ask who owns it"},
    Meaning{"RequestTimeTooSkewed", ErrorCode::kRefused, "the clocks of this machine and of {1} differ",
            "set this machine's clock (by NTP)"},
    Meaning{"QuotaExceeded", ErrorCode::kNoSpace, "the quota is used up", kMakeRoom},
    Meaning{"InsufficientStorage", ErrorCode::kNoSpace, "the store is full", kMakeRoom},
    Meaning{"XMinioStorageFull", ErrorCode::kNoSpace, "the store is full", kMakeRoom},
    Meaning{"AuthorizationHeaderMalformed", ErrorCode::kRefused, "the bucket is in another region",
            kSetRegion},
    Meaning{"PermanentRedirect", ErrorCode::kRefused, "the bucket is in another region", kSetRegion},
    Meaning{"SlowDown", ErrorCode::kIo, "{1} is overloaded, and stays so", "try again later"},
    Meaning{"ServiceUnavailable", ErrorCode::kIo, "{1} is overloaded, and stays so", "try again later"},
};

// For answers without a code: what the status alone says.
struct StatusMeaning {
  int status;
  std::string_view code;
};
constexpr std::array kStatusMeanings{StatusMeaning{301, "PermanentRedirect"},
                                     StatusMeaning{403, "AccessDenied"}, StatusMeaning{404, "NoSuchKey"},
                                     StatusMeaning{503, "SlowDown"},
                                     StatusMeaning{507, "InsufficientStorage"}};

const Meaning* meaning_of(const HttpReply& reply, const S3ErrorBody& body) {
  const auto of_code = [](std::string_view code) -> const Meaning* {
    const auto found = std::ranges::find(kMeanings, code, &Meaning::code);
    return found == kMeanings.end() ? nullptr : &*found;
  };
  if (const Meaning* meaning = of_code(body.code)) return meaning;
  const auto status = std::ranges::find(kStatusMeanings, reply.status, &StatusMeaning::status);
  return status == kStatusMeanings.end() ? nullptr : of_code(status->code);
}

Error connection_error(const HttpReply& reply, std::string_view doing, const S3Place& place) {
  const std::string_view why = reply.problem_text;
  switch (reply.problem) {
    case HttpProblem::kUnreachable:
      return {ErrorCode::kIo, fmt::format("{}: cannot reach {}: {}", doing, place.endpoint, why),
              "check AWS_ENDPOINT_URL and the network"};
    case HttpProblem::kUntrusted:
      return {ErrorCode::kRefused, fmt::format("{}: {} is not to be trusted: {}", doing, place.endpoint, why),
              "name a file with its authority's certificate in AWS_CA_BUNDLE"};
    case HttpProblem::kStalled:
      return {ErrorCode::kIo, fmt::format("{}: {} does not answer: {}", doing, place.endpoint, why),
              "check the network, and try again"};
    case HttpProblem::kTooLarge:
      return {ErrorCode::kLimit, fmt::format("{}: the answer of {} is too large", doing, place.endpoint)};
    default:
      return {ErrorCode::kIo, fmt::format("{}: {} broke off: {}", doing, place.endpoint, why),
              "check the network, and try again"};
  }
}

}  // namespace

bool is_transient(const HttpReply& reply, const S3ErrorBody& body) {
  switch (reply.problem) {
    case HttpProblem::kNone:
      break;
    case HttpProblem::kUntrusted:
    case HttpProblem::kTooLarge:
      return false;
    default:
      return true;
  }
  constexpr std::array kStatuses{408, 429, 500, 502, 503, 504};
  constexpr std::array<std::string_view, 6> kCodes{"SlowDown",         "RequestTimeout",
                                                   "InternalError",    "ServiceUnavailable",
                                                   "OperationAborted", "ConditionalRequestConflict"};
  return std::ranges::find(kStatuses, reply.status) != kStatuses.end() ||
         std::ranges::find(kCodes, body.code) != kCodes.end();
}

bool is_expired(const S3ErrorBody& body) {
  return body.code.starts_with("ExpiredToken") || body.code == "TokenRefreshRequired" ||
         body.code == "InvalidToken" || body.code == "InvalidAccessKeyId";
}

Error s3_error(const HttpReply& reply, const S3ErrorBody& body, std::string_view doing,
               const S3Place& place) {
  if (reply.problem != HttpProblem::kNone) return connection_error(reply, doing, place);
  if (const Meaning* meaning = meaning_of(reply, body)) {
    const auto fill = [&](std::string_view text) {
      return fmt::format(fmt::runtime(text), place.bucket, place.endpoint);
    };
    std::string hint = fill(meaning->hint);
    if (meaning->hint == kSetRegion && !body.region.empty()) {
      hint = fmt::format("set AWS_REGION to {}", printable(body.region.substr(0, kMessageBytesMax)));
    }
    return {meaning->error, fmt::format("{}: {}", doing, fill(meaning->what)), hint};
  }
  std::string said = printable(body.message.empty() ? body.code : body.code + ": " + body.message);
  if (said.size() > kMessageBytesMax) said.resize(kMessageBytesMax);
  return {ErrorCode::kIo, fmt::format("{}: {} answers with status {}{}{}", doing, place.endpoint,
                                      reply.status, said.empty() ? "" : ", ", said)};
}

}  // namespace vmpack
