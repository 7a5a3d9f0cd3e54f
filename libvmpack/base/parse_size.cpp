// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/parse_size.hpp"

#include <fmt/core.h>

#include <charconv>
#include <limits>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"

namespace vmpack {

std::uint64_t parse_size(std::string_view text) {
  const auto bad = [&] {
    return Error(ErrorCode::kInvalid, fmt::format("bad size \"{}\"", printable(text)),
                 "write a number with K, M, G or T behind it");
  };
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) throw bad();
  std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  if (unit.ends_with('B')) unit.remove_suffix(1);
  if (unit.size() == 2 && unit.ends_with('i')) unit.remove_suffix(1);
  if (unit.empty()) return value;
  constexpr std::string_view kUnits = "KMGT";
  const auto power = unit.size() == 1 ? kUnits.find(unit.front()) : std::string_view::npos;
  if (power == std::string_view::npos) throw bad();
  const unsigned shift = 10 * (static_cast<unsigned>(power) + 1);
  if (value > std::numeric_limits<std::uint64_t>::max() >> shift) throw bad();
  return value << shift;
}

}  // namespace vmpack
