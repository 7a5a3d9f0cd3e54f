// SPDX-License-Identifier: Apache-2.0
// What a path stands for. Pure.
#pragma once

#include <string>
#include <string_view>

namespace vmpack::http {

enum class Kind {
  kNone,
  kPage,         ///< "/": for people
  kHealth,       ///< "/healthz": the process answers
  kReady,        ///< "/readyz": clients should come here
  kMetrics,      ///< "/metrics"
  kInUse,        ///< "/in-use"
  kConnections,  ///< "/connections.json": who reads what
  kStatus,       ///< "/status.json": the server and its repository in figures
  kCatalog,      ///< "/catalog.json"
  kEntry,        ///< "/catalog/REFERENCE.json": what is known about one, with its packages
  kImage,        ///< "/images/REFERENCE"
  kStored,       ///< a key of the store that others may read
};

struct Target {
  Kind kind = Kind::kNone;
  std::string name;  ///< the reference as it was sent, unescaped; or the key
};

[[nodiscard]] Target find_target(std::string_view path);

/// How a stored value may be kept, and what it is.
struct StoredKey {
  std::string etag;  ///< its digest, quoted; empty for what may be replaced
  std::string_view content_type;
};
/// Whether `key` is a pack, a map, a table of files, a snapshot or its places, and nothing else.
[[nodiscard]] bool is_stored_key(std::string_view key);
/// Of such a key.
[[nodiscard]] StoredKey describe_stored_key(std::string_view key);

}  // namespace vmpack::http
