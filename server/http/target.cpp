// SPDX-License-Identifier: Apache-2.0
#include "server/http/target.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/manifest.hpp"
#include "libvmpack/snapshot/places.hpp"
#include "libvmpack/store/text.hpp"

namespace vmpack::http {
namespace {

constexpr std::size_t kNameBytesMax = 512;  // a name and a tag of the largest size, escaped

constexpr auto kFixedPaths =
    std::to_array<std::pair<std::string_view, Kind>>({{"/", Kind::kPage},
                                                      {"/healthz", Kind::kHealth},
                                                      {"/readyz", Kind::kReady},
                                                      {"/metrics", Kind::kMetrics},
                                                      {"/in-use", Kind::kInUse},
                                                      {"/connections.json", Kind::kConnections},
                                                      {"/status.json", Kind::kStatus},
                                                      {"/catalog.json", Kind::kCatalog}});

constexpr std::string_view kImages = "/images/";
constexpr std::string_view kEntries = "/catalog/";
constexpr std::string_view kJson = ".json";
constexpr std::string_view kPlaces = "places/";

/// The 64 digits in the last part of a key, before its extension.
std::optional<Digest> digest_in(std::string_view key) {
  const auto slash = key.rfind('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const std::string_view file = key.substr(slash + 1);
  return Digest::from_hex(file.substr(0, file.find('.')));
}

Target named(Kind kind, std::string_view escaped) {
  if (escaped.size() > kNameBytesMax) return {};
  auto name = unescape_url(escaped);
  if (!name) return {};
  return {kind, std::move(*name)};
}

}  // namespace

Target find_target(std::string_view path) {
  const auto fixed = std::ranges::find(kFixedPaths, path, &std::pair<std::string_view, Kind>::first);
  if (fixed != kFixedPaths.end()) return {fixed->second, {}};
  if (path.starts_with(kImages)) return named(Kind::kImage, path.substr(kImages.size()));
  if (path.starts_with(kEntries) && path.ends_with(kJson)) {
    path.remove_prefix(kEntries.size());
    path.remove_suffix(std::min(kJson.size(), path.size()));
    return named(Kind::kEntry, path);
  }
  path.remove_prefix(std::min<std::size_t>(path.size(), 1));
  if (is_stored_key(path)) return {Kind::kStored, std::string(path)};
  return {};
}

bool is_stored_key(std::string_view key) {
  const auto digest = digest_in(key);
  if (!digest) return false;
  return key == pack_key(PackDigest(*digest)) || key == map_key(MapDigest(*digest)) ||
         key == file_table_key(FileTableDigest(*digest)) || key == manifest_key(SnapshotDigest(*digest)) ||
         key == places_key(SnapshotDigest(*digest));
}

StoredKey describe_stored_key(std::string_view key) {
  if (key.starts_with(kPlaces)) return {{}, "application/octet-stream"};
  return {fmt::format("\"{}\"", digest_in(key)->hex()),
          key.ends_with(kJson) ? "application/json" : "application/octet-stream"};
}

}  // namespace vmpack::http
