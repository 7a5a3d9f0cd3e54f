// SPDX-License-Identifier: Apache-2.0
// What is answered to a request, and its header as text.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libvmpack/base/units.hpp"
#include "server/http/content.hpp"
#include "server/http/range.hpp"
#include "server/http/request.hpp"

namespace vmpack::http {

/// Names are ours; values too, or made of characters that cannot end a line.
using HeaderFields = std::vector<std::pair<std::string_view, std::string>>;

/// A thing that is sent in pieces, and what is told with it.
struct Resource {
  std::shared_ptr<const Content> content;
  Validators validators;
  std::string_view content_type = "application/octet-stream";
  std::string cache_control;
  std::string reference;  ///< whose traffic it is; empty: nobody's
  bool fixed = false;     ///< what this path names for ever
};
using ResourcePtr = std::shared_ptr<const Resource>;

struct Answer {
  unsigned status = 200;
  std::string_view content_type = "text/plain; charset=utf-8";
  HeaderFields fields;
  std::string body;
  ResourcePtr resource;  ///< what it is about, where that is not a text
  ByteRange range;       ///< of the resource: what is sent instead of a body

  [[nodiscard]] std::uint64_t body_bytes() const { return range.length + body.size(); }
};

/// What a request for a resource gets: all of it, a range, or neither.
[[nodiscard]] Answer resource_answer(const Request& request, ResourcePtr resource);

/// The same for a text, which is sent whole.
[[nodiscard]] Answer text_answer(const Request& request, std::string_view content_type, std::string text,
                                 const Validators& validators, std::string_view cache_control);

/// A failure, told in one line.
[[nodiscard]] Answer error_answer(unsigned status, std::string_view message);

/// Seconds since 1970 as "Tue, 24 Nov 2026 10:00:00 GMT"; 0: empty.
[[nodiscard]] std::string http_date(std::int64_t seconds);

/// The status line and all fields, up to the empty line. `now`: seconds since 1970.
[[nodiscard]] std::string header_text(const Answer& answer, const Request& request, bool keep_alive,
                                      std::int64_t now);

}  // namespace vmpack::http
