// SPDX-License-Identifier: Apache-2.0
// HTTP requests over connections that are kept, with every answer bounded. Knows nothing of S3 but how
// libcurl signs for it.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/store/s3/http_body.hpp"

namespace vmpack {

struct HttpSettings {
  std::size_t connections_max = 32;  ///< requests at once; more wait for their turn
  std::chrono::milliseconds connect_time_max{10'000};
  std::chrono::seconds stall_time_max{
      20};                ///< a transfer that moves less than a KiB a second for so long ends
  std::string ca_bundle;  ///< a file with the authorities to trust; empty: the system's
};

/// How to sign (AWS signature version 4). Without an access key requests are not signed.
struct HttpSigner {
  std::string region;
  std::string access_key;
  std::string secret_key;
};

struct HttpRequest {
  std::string method;                ///< GET, HEAD, PUT, POST or DELETE
  std::string url;                   ///< escaped as the signature wants it
  std::vector<std::string> headers;  ///< "name: value", each with a value; they are signed too
  std::optional<ByteRange> range;    ///< asks for this part alone
  HttpBody* body = nullptr;          ///< sent when there is one
  /// Where the bytes of a partial answer (206) go: a span that they must fill. Empty: into the reply.
  ByteSpan into;
  std::uint64_t body_bytes_max = 0;  ///< of an answer that goes into the reply
};

enum class HttpProblem : std::uint8_t {
  kNone,
  kUnreachable,  ///< no such host, no route, no connection
  kUntrusted,    ///< the server cannot prove who it is
  kStalled,      ///< it went silent
  kBroken,       ///< the connection ended early, or what came is no HTTP
  kTooLarge,     ///< the answer is over `body_bytes_max` or a limit of headers
};

struct HttpReply {
  HttpProblem problem = HttpProblem::kNone;
  std::string problem_text;                                  ///< one line, from libcurl
  int status = 0;                                            ///< 0 when none came
  std::vector<std::pair<std::string, std::string>> headers;  ///< names in lower case
  Bytes body;
  std::uint64_t bytes = 0;  ///< of the whole answer, in `body` or `into`

  /// Empty when it is not there.
  [[nodiscard]] std::string_view header(std::string_view name) const;
  /// nullopt when it is not there or no number.
  [[nodiscard]] std::optional<std::uint64_t> content_length() const;
};

/// Any thread.
class HttpClient {
 public:
  /// Throws kUnsupported without libcurl.
  explicit HttpClient(HttpSettings settings);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// Sends once, and waits for the answer, whatever it says: redirects are not followed. Throws what the body
  /// throws.
  [[nodiscard]] HttpReply perform(const HttpRequest& request, const HttpSigner& signer);

 private:
  class Handles;
  std::unique_ptr<Handles> handles_;
};

/// Seconds since 1970 of an HTTP date; nullopt when it is none.
[[nodiscard]] std::optional<std::int64_t> parse_http_date(std::string_view text);

}  // namespace vmpack
