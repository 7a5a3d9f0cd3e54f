// SPDX-License-Identifier: Apache-2.0
// Which bytes of a thing answer a request, or none (RFC 9110, sections 13 and 14). Pure.
#pragma once

#include <cstdint>
#include <string>

#include "libvmpack/base/units.hpp"
#include "server/http/request.hpp"

namespace vmpack::http {

/// What a request's conditions are held against. What is not known is empty.
struct Validators {
  std::string etag;           ///< strong, with its quotes
  std::string last_modified;  ///< as an HTTP date
};

/// Whether the client has what it asks for already.
[[nodiscard]] bool is_unchanged(const Request& request, const Validators& validators);

struct BodyPlan {
  unsigned status = 200;  ///< 200, 206, 304 or 416
  ByteRange range;        ///< to be sent to a GET: empty but for 200 and 206
};

/// `bytes` is the size of the whole. A request for several ranges gets the whole, as the standard allows.
[[nodiscard]] BodyPlan plan_body(const Request& request, const Validators& validators, std::uint64_t bytes);

}  // namespace vmpack::http
