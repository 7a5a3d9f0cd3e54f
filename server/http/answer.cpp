// SPDX-License-Identifier: Apache-2.0
#include "server/http/answer.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <iterator>

namespace vmpack::http {
namespace {

std::string_view reason_of(unsigned status) {
  switch (status) {
    case 200:
      return "OK";
    case 206:
      return "Partial Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Internal Server Error";
  }
}

void add_validators(HeaderFields& fields, const Validators& validators) {
  if (!validators.etag.empty()) fields.emplace_back("ETag", validators.etag);
  if (!validators.last_modified.empty()) fields.emplace_back("Last-Modified", validators.last_modified);
}

}  // namespace

Answer resource_answer(const Request& request, ResourcePtr resource) {
  const std::uint64_t bytes = resource->content->size();
  const BodyPlan plan = plan_body(request, resource->validators, bytes);
  Answer answer{.status = plan.status, .content_type = resource->content_type, .range = plan.range};
  answer.fields.emplace_back("Accept-Ranges", "bytes");
  answer.fields.emplace_back("Cache-Control", resource->cache_control);
  add_validators(answer.fields, resource->validators);
  if (plan.status == 416) answer.fields.emplace_back("Content-Range", fmt::format("bytes */{}", bytes));
  if (plan.status == 206) {
    answer.fields.emplace_back("Content-Range",
                               fmt::format("bytes {}-{}/{}", plan.range.offset, plan.range.end() - 1, bytes));
  }
  answer.resource = std::move(resource);
  return answer;
}

Answer text_answer(const Request& request, std::string_view content_type, std::string text,
                   const Validators& validators, std::string_view cache_control) {
  Answer answer{.content_type = content_type};
  if (is_unchanged(request, validators)) {
    answer.status = 304;
  } else {
    answer.body = std::move(text);
  }
  answer.fields.emplace_back("Cache-Control", cache_control);
  add_validators(answer.fields, validators);
  return answer;
}

Answer error_answer(unsigned status, std::string_view message) {
  return {.status = status, .fields = {{"Cache-Control", "no-store"}}, .body = fmt::format("{}\n", message)};
}

std::string http_date(std::int64_t seconds) {
  if (seconds == 0) return {};
  return fmt::format("{:%a, %d %b %Y %H:%M:%S} GMT", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

std::string header_text(const Answer& answer, const Request& request, bool keep_alive, std::int64_t now) {
  std::string text =
      fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", answer.status, reason_of(answer.status), http_date(now));
  const auto add = [&text](std::string_view name, std::string_view value) {
    fmt::format_to(std::back_inserter(text), "{}: {}\r\n", name, value);
  };
  if (answer.status != 304) {
    add("Content-Type", answer.content_type);
    add("Content-Length", fmt::to_string(answer.body_bytes()));
    add("X-Content-Type-Options", "nosniff");
  }
  for (const auto& [name, value] : answer.fields) add(name, value);
  if (!keep_alive) {
    add("Connection", "close");
  } else if (request.version_1_0) {
    add("Connection", "keep-alive");
  }
  text += "\r\n";
  return text;
}

}  // namespace vmpack::http
