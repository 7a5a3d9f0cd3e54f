// SPDX-License-Identifier: Apache-2.0
// What is answered to whom: images, files of the repository, and facts about both and about the server.
#pragma once

#include <cstdint>
#include <vector>

#include "server/access.hpp"
#include "server/export.hpp"
#include "server/http/answer.hpp"
#include "server/http/request.hpp"
#include "server/http/site.hpp"
#include "server/http/target.hpp"
#include "server/metrics.hpp"

namespace spdlog {
class logger;
}

namespace vmpack::http {

/// A page may be as large, with all that it takes to build: a share of the server's budget is taken for it.
inline constexpr std::uint64_t kPageBytesMax = 16 * kMiB;

/// Who asks, and what rules there are.
struct Visitor {
  const Client& client;
  const AccessRules& access;
  bool may_show_token = false;  ///< the server knows tokens, and this client has shown none
};

/// What the server's threads said just now.
struct LiveFacts {
  std::vector<ConnectionFacts> connections;
  bool stopping = false;
};

struct Sources {
  ExportCatalog& exports;
  Site& site;
  ServerMetrics& metrics;
  spdlog::logger& log;
};

/// Whether an answer needs LiveFacts.
[[nodiscard]] bool needs_live_facts(Kind kind);
/// Whether an answer may take kPageBytesMax.
[[nodiscard]] bool is_large(Kind kind);

/// May block on the store. Throws nothing.
[[nodiscard]] Answer answer(const Request& request, const Target& target, const Visitor& visitor,
                            const Sources& sources, const LiveFacts& live);

}  // namespace vmpack::http
