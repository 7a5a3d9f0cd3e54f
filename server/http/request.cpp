// SPDX-License-Identifier: Apache-2.0
#include "server/http/request.hpp"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/rfc7230.hpp>

namespace vmpack::http {
namespace {

namespace beast = boost::beast::http;

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeaderEnd = "\r\n\r\n";

std::string_view as_view(boost::beast::string_view text) { return {text.data(), text.size()}; }

Method method_of(beast::verb verb) {
  if (verb == beast::verb::get) return Method::kGet;
  return verb == beast::verb::head ? Method::kHead : Method::kOther;
}

Refusal too_large(std::string_view input) {
  if (input.find(kLineEnd) == std::string_view::npos) return {414, "the request's first line is too long"};
  return {431, "the request's header is too large"};
}

/// The path in "/path?query" or "http://host/path?query"; empty for anything else.
std::string_view path_of(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    target.remove_prefix(scheme.size());
    const auto slash = target.find('/');
    target = slash == std::string_view::npos ? "/" : target.substr(slash);
  }
  if (!target.starts_with('/')) return {};
  return target.substr(0, target.find('?'));
}

/// What the fields say that may be there once at most; two of a kind are how requests are smuggled.
class Fields {
 public:
  explicit Fields(const beast::fields& fields) : fields_(fields) {}
  std::string once(beast::field name) {
    const auto count = fields_.count(name);
    if (count > 1) repeated_ = true;
    return count == 1 ? std::string(as_view(fields_[name])) : std::string();
  }
  [[nodiscard]] bool repeated() const { return repeated_; }

 private:
  const beast::fields& fields_;
  bool repeated_ = false;
};

ParseResult judge(const beast::request_parser<beast::empty_body>& parser, std::size_t bytes) {
  const auto& message = parser.get();
  Fields fields(message);
  Request request{.method = method_of(message.method()),
                  .path = std::string(path_of(as_view(message.target()))),
                  .keep_alive = message.keep_alive(),
                  .version_1_0 = message.version() < 11,
                  .authorization = fields.once(beast::field::authorization),
                  .range = fields.once(beast::field::range),
                  .if_range = fields.once(beast::field::if_range),
                  .if_none_match = fields.once(beast::field::if_none_match),
                  .if_modified_since = fields.once(beast::field::if_modified_since)};
  const std::string host = fields.once(beast::field::host);
  const std::string expected = fields.once(beast::field::expect);
  if (message.count(beast::field::host) == 0 && !request.version_1_0)
    return Refusal{400, "the request names no host"};
  if (request.path.empty()) return Refusal{400, "the request names no path"};
  if (message.count(beast::field::transfer_encoding) > 0)
    return Refusal{501, "no request with a body is answered"};
  const std::string length = fields.once(beast::field::content_length);
  if (fields.repeated()) return Refusal{400, "a field of the request's header is repeated"};
  request.has_body = !length.empty() && parser.content_length().value_or(1) > 0;
  if (!expected.empty() && !boost::beast::iequals(expected, "100-continue"))
    return Refusal{417, "the request expects something unknown"};
  return ParsedRequest{std::move(request), bytes};
}

}  // namespace

ParseResult parse_request(std::string_view input) {
  // One empty line before a request is to be forgiven.
  const std::size_t skipped = input.starts_with(kLineEnd) ? kLineEnd.size() : 0;
  const std::string_view text = input.substr(skipped);
  const auto end = text.substr(0, kHeaderBytesMax).find(kHeaderEnd);
  if (end == std::string_view::npos) {
    if (input.size() >= kHeaderBytesMax) return too_large(text);
    return Incomplete{};
  }
  const std::size_t bytes = end + kHeaderEnd.size();
  beast::request_parser<beast::empty_body> parser;
  parser.header_limit(kHeaderBytesMax);
  parser.body_limit(boost::none);
  boost::system::error_code error;
  parser.put(boost::asio::buffer(text.data(), bytes), error);
  if (error == beast::error::bad_version) return Refusal{505, "this is not HTTP/1.0 or HTTP/1.1"};
  if (error || !parser.is_header_done()) return Refusal{400, "this is no HTTP request"};
  return judge(parser, skipped + bytes);
}

}  // namespace vmpack::http
