// SPDX-License-Identifier: Apache-2.0
// A request as it comes off the wire, judged once, at the border. Pure: bytes in, a value out.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>

namespace vmpack::http {

/// Of one request: its line and all its fields. Nobody sends us a body.
inline constexpr std::size_t kHeaderBytesMax = 8 * 1024;

enum class Method { kGet, kHead, kOther };

/// Fields that were not sent are empty.
struct Request {
  Method method = Method::kGet;
  std::string path;  ///< as sent, still escaped, without what follows a '?'
  bool keep_alive = true;
  bool version_1_0 = false;
  bool has_body = false;  ///< unread: it must be the connection's last request
  std::string authorization;
  std::string range;
  std::string if_range;
  std::string if_none_match;
  std::string if_modified_since;
};

/// More bytes are needed.
struct Incomplete {};
/// Not to be talked to any further, but for this.
struct Refusal {
  unsigned status = 400;
  std::string_view message;
};
struct ParsedRequest {
  Request request;
  std::size_t bytes = 0;  ///< of the input, that it took
};
using ParseResult = std::variant<Incomplete, Refusal, ParsedRequest>;

/// The first request in `input`, which is never Incomplete from kHeaderBytesMax bytes on.
[[nodiscard]] ParseResult parse_request(std::string_view input);

}  // namespace vmpack::http
