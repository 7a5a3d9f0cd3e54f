// SPDX-License-Identifier: Apache-2.0
#include "server/console/page.hpp"

#include <fmt/format.h>

#include "libvmpack/base/digest.hpp"
#include "server/base64.hpp"
#include "server/console/page_text.hpp"

namespace vmpack {
namespace {

/// The source of a Content-Security-Policy that allows exactly this text.
std::string source_of(std::string_view text) {
  const Digest digest = sha256(as_byte_view(text));
  return fmt::format("'sha256-{}'", encode_base64(std::as_bytes(std::span(digest.bytes))));
}

std::string join_page() {
  constexpr std::string_view kHere = "<!-- style and script -->";
  const auto at = kConsoleHtml.find(kHere);
  return fmt::format("{}<style>{}</style>\n<script>{}</script>{}", kConsoleHtml.substr(0, at), kConsoleStyle,
                     kConsoleScript, kConsoleHtml.substr(at + kHere.size()));
}

}  // namespace

std::string_view console_page() {
  static const std::string page = join_page();
  return page;
}

const std::string& console_etag() {
  static const std::string etag = fmt::format("\"{}\"", sha256(as_byte_view(console_page())).hex());
  return etag;
}

const std::string& console_policy() {
  static const std::string policy = fmt::format(
      "default-src 'none'; style-src {}; script-src {}; connect-src 'self'; img-src data:; base-uri 'none'; "
      "form-action 'none'; "
      "frame-ancestors 'none'",
      source_of(kConsoleStyle), source_of(kConsoleScript));
  return policy;
}

}  // namespace vmpack
