// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/parse_duration.hpp"

#include <fmt/core.h>

#include <charconv>
#include <limits>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"

namespace vmpack {
namespace {

/// 0 for what is no unit.
std::int64_t seconds_of(std::string_view unit) {
  if (unit.empty() || unit == "s") return 1;
  if (unit == "m") return 60;
  if (unit == "h") return 60 * 60;
  if (unit == "d") return 24 * 60 * 60;
  if (unit == "w") return 7 * 24 * 60 * 60;
  return 0;
}

}  // namespace

std::int64_t parse_duration(std::string_view text) {
  std::int64_t value = 0;
  const char* const last = text.data() + text.size();
  const auto [end, error] = std::from_chars(text.data(), last, value);
  const std::int64_t unit = seconds_of(std::string_view(end, static_cast<std::size_t>(last - end)));
  if (error != std::errc() || unit == 0 || value < 0 ||
      value > std::numeric_limits<std::int32_t>::max() / unit) {
    throw Error(ErrorCode::kInvalid, fmt::format("bad duration \"{}\"", printable(text)),
                "write a number with s, m, h, d or w behind it");
  }
  return value * unit;
}

}  // namespace vmpack
