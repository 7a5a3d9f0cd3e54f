// SPDX-License-Identifier: Apache-2.0
#include "server/http/range.hpp"

#include <algorithm>
#include <limits>
#include <optional>
#include <string_view>

#include "libvmpack/store/text.hpp"

namespace vmpack::http {
namespace {

constexpr std::string_view kUnit = "bytes=";
constexpr std::string_view kWeak = "W/";

/// A number of any length: one that does not fit lies behind every end.
std::optional<std::uint64_t> parse_position(std::string_view digits) {
  if (digits.empty() || digits.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return parse_number<std::uint64_t>(digits).value_or(std::numeric_limits<std::uint64_t>::max());
}

/// nullopt: it makes no sense, or is not for us, and is as if it were not there. An empty range: nothing of
/// it lies inside.
std::optional<ByteRange> parse_range(std::string_view text, std::uint64_t bytes) {
  if (!text.starts_with(kUnit)) return std::nullopt;
  text = trimmed(text.substr(kUnit.size()));
  const auto dash = text.find('-');
  if (dash == std::string_view::npos) return std::nullopt;
  const auto last = parse_position(text.substr(dash + 1));
  if (dash == 0) {
    if (!last) return std::nullopt;
    const std::uint64_t length = std::min(*last, bytes);
    return ByteRange{bytes - length, length};
  }
  const auto first = parse_position(text.substr(0, dash));
  if (!first || (!last && dash + 1 < text.size()) || (last && *last < *first)) return std::nullopt;
  if (*first >= bytes) return ByteRange{};
  const std::uint64_t end = last ? std::min(*last, bytes - 1) + 1 : bytes;
  return ByteRange{*first, end - *first};
}

/// Whether a list of entity tags names this one; weakly, as is right for If-None-Match.
bool names_etag(std::string_view list, std::string_view etag) {
  while (!list.empty()) {
    const auto comma = list.find(',');
    std::string_view one = trimmed(list.substr(0, comma));
    if (one.starts_with(kWeak)) one.remove_prefix(kWeak.size());
    if (one == etag) return true;
    list = comma == std::string_view::npos ? std::string_view() : list.substr(comma + 1);
  }
  return false;
}

}  // namespace

bool is_unchanged(const Request& request, const Validators& validators) {
  if (!request.if_none_match.empty()) {
    if (trimmed(request.if_none_match) == "*") return true;
    return !validators.etag.empty() && names_etag(request.if_none_match, validators.etag);
  }
  // Only the very date that we told: dates have too few digits for more.
  return !request.if_modified_since.empty() && request.if_modified_since == validators.last_modified;
}

BodyPlan plan_body(const Request& request, const Validators& validators, std::uint64_t bytes) {
  if (is_unchanged(request, validators)) return {304, {}};
  const bool same = request.if_range.empty() || request.if_range == validators.etag;
  const bool ranged = request.method == Method::kGet && !request.range.empty() && same;
  const auto range = ranged ? parse_range(request.range, bytes) : std::nullopt;
  if (!range) return {200, {0, bytes}};
  if (range->length == 0) return {416, {}};
  return {206, *range};
}

}  // namespace vmpack::http
