// SPDX-License-Identifier: Apache-2.0
#include "server/http/credentials.hpp"

#include <boost/beast/core/string.hpp>

#include "libvmpack/store/text.hpp"
#include "server/base64.hpp"

namespace vmpack::http {
std::optional<std::string> shown_secret(std::string_view authorization) {
  const auto blank = authorization.find(' ');
  if (blank == std::string_view::npos) return std::nullopt;
  const std::string_view scheme = authorization.substr(0, blank);
  const std::string_view rest = trimmed(authorization.substr(blank));
  if (boost::beast::iequals(scheme, "Bearer")) return std::string(rest);
  if (!boost::beast::iequals(scheme, "Basic")) return std::nullopt;
  const auto pair = decode_base64(rest);
  const auto colon = pair ? pair->find(':') : std::string::npos;
  if (colon == std::string::npos) return std::nullopt;
  return pair->substr(colon + 1);
}

}  // namespace vmpack::http
