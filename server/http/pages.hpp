// SPDX-License-Identifier: Apache-2.0
// What the server answers to HTTP requests: facts about itself.
#pragma once

#include <string>
#include <string_view>

#include "server/export.hpp"

namespace vmpack::http {

struct Answer {
  unsigned status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

/// May block on the store. `/healthz`; `/in-use`: a JSON object whose `snapshots` are the digests of those
/// that clients have open. Throws nothing.
[[nodiscard]] Answer answer(std::string_view method, std::string_view target, ExportCatalog& catalog);

}  // namespace vmpack::http
