// SPDX-License-Identifier: Apache-2.0
// Between nlohmann's JSON and our own types. For .cpp files only: no public header shows JSON.
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"

namespace vmpack {

/// Keeps members in the order they were given, so that the same facts give the same bytes.
using OrderedJson = nlohmann::ordered_json;

/// Two-space indented text; bytes that are not UTF-8 (names from images) are replaced.
inline std::string dump_json(const OrderedJson& json) {
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// The same on one line.
inline std::string dump_json_line(const OrderedJson& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

/// Parses `text` and hands it to `read`; whatever the library throws on the way becomes kDamaged naming
/// `where`.
template <typename Read>
auto read_json(std::string_view text, std::string_view where, Read read) {
  try {
    return read(OrderedJson::parse(text));
  } catch (const nlohmann::json::exception& exception) {
    throw Error(ErrorCode::kDamaged, fmt::format("{} is damaged: {}", where, exception.what()));
  }
}

/// Checks the members "format", "version" and "required_features" that every JSON file of a repository begins
/// with.
inline void check_json_format(const OrderedJson& json, std::string_view format,
                              std::initializer_list<std::string_view> known_features,
                              std::string_view where) {
  if (json.at("format").get<std::string>() != format) {
    throw Error(ErrorCode::kDamaged, fmt::format("{} is damaged: it is not a {} file", where, format));
  }
  if (const auto version = json.at("version").get<std::uint64_t>(); version != kFormatVersion) {
    throw_unknown_version(where, version);
  }
  for (const OrderedJson& feature : json.at("required_features")) {
    const auto name = feature.get<std::string>();
    if (std::ranges::find(known_features, name) == known_features.end()) throw_unknown_feature(where, name);
  }
}

inline Digest digest_from_json(const OrderedJson& json, std::string_view where) {
  const auto digest = Digest::from_hex(json.get<std::string>());
  if (!digest) throw Error(ErrorCode::kDamaged, fmt::format("{} is damaged: a digest is malformed", where));
  return *digest;
}

}  // namespace vmpack
