// SPDX-License-Identifier: Apache-2.0
// Judges a client's request once, at the border: everything behind it may rely on the range and the flags.
#pragma once

#include <cstdint>
#include <string_view>

#include "server/nbd/protocol.hpp"

namespace vmpack::nbd {

/// What a request is measured against.
struct Terms {
  std::uint64_t export_bytes = 0;
  bool structured = false;
  bool block_status = false;
};

/// Those that need the image come first.
enum class Action {
  kRead,         ///< 1 to kPayloadBytesMax bytes inside the export
  kBlockStatus,  ///< at least one byte inside the export
  kPrefetch,     ///< at least one byte inside the export
  kSucceed,      ///< nothing to do
  kFail,         ///< with `status` and `message`, after `skip_bytes` of the client's data
  kDisconnect,   ///< the client takes its leave
  kClose,        ///< not to be talked to any further, as `message` says
};

struct Verdict {
  Action action = Action::kFail;
  Status status = Status::kNone;
  std::uint32_t skip_bytes = 0;
  std::string_view message = {};
};

[[nodiscard]] Verdict judge(const Request& request, const Terms& terms);

}  // namespace vmpack::nbd
