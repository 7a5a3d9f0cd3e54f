// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/vmdk_descriptor.hpp"

#include <charconv>
#include <optional>

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kBlanks = " \t\r";

std::string_view trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

std::string_view take_word(std::string_view& line) {
  line = trim(line);
  const std::size_t end = std::min(line.find_first_of(kBlanks), line.size());
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

std::optional<std::uint64_t> to_number(std::string_view word) {
  std::uint64_t value = 0;
  const auto [end, failed] = std::from_chars(word.data(), word.data() + word.size(), value);
  if (failed != std::errc() || end != word.data() + word.size()) return std::nullopt;
  return value;
}

// "RW 63 FLAT "name" 0": access, sectors, kind, name in quotes, and the sector in that file for flat ones.
std::optional<VmdkExtent> parse_line(std::string_view line) {
  const std::string_view access = take_word(line);
  if (access != "RW" && access != "RDONLY" && access != "NOACCESS") return std::nullopt;
  const auto sectors = to_number(take_word(line));
  const std::string_view kind = take_word(line);
  line = trim(line);
  if (!sectors || !line.starts_with('"')) return std::nullopt;
  const std::size_t quote = line.find('"', 1);
  if (quote == std::string_view::npos) return std::nullopt;
  VmdkExtent extent{std::string(line.substr(1, quote - 1)), 0};
  line.remove_prefix(quote + 1);
  if (kind == "FLAT" || kind == "VMFS") {
    const std::uint64_t first = to_number(take_word(line)).value_or(0);
    constexpr std::uint64_t kSectorsMax = 1ULL << 53;
    if (first < kSectorsMax && *sectors < kSectorsMax)
      extent.bytes_at_least = (first + *sectors) * kSectorBytes;
  }
  return extent;
}

}  // namespace

std::vector<VmdkExtent> parse_vmdk_extents(std::string_view descriptor, const std::string& path) {
  std::vector<VmdkExtent> extents;
  while (!descriptor.empty()) {
    const std::size_t end = std::min(descriptor.find('\n'), descriptor.size());
    if (auto extent = parse_line(descriptor.substr(0, end))) extents.push_back(std::move(*extent));
    descriptor.remove_prefix(std::min(end + 1, descriptor.size()));
    if (extents.size() > kVmdkExtentsMax) {
      throw Error(ErrorCode::kLimit, fmt::format("{} names more than {} extents", path, kVmdkExtentsMax));
    }
  }
  return extents;
}

}  // namespace vmpack
