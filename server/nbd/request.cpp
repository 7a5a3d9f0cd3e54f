// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/request.hpp"

namespace vmpack::nbd {
namespace {

constexpr Verdict fail(Status status, std::string_view message) {
  return {Action::kFail, status, 0, message};
}

constexpr std::string_view kReadOnlyText = "the export is read-only";

Verdict judge_write(const Request& request) {
  if (request.length > kPayloadBytesMax)
    return {Action::kClose, Status::kNone, 0, "a write of more than 32 MiB"};
  return {Action::kFail, Status::kNotPermitted, request.length, kReadOnlyText};
}

Verdict judge_read(const Request& request, const Terms& terms) {
  if (request.length <= kPayloadBytesMax) return {.action = Action::kRead};
  // kOverflow is for clients that know structured replies.
  return fail(terms.structured ? Status::kOverflow : Status::kInvalid, "a read of more than 32 MiB");
}

std::uint16_t flags_allowed(Command command, const Terms& terms) {
  if (command == Command::kRead && terms.structured) return kFlagDontFragment;
  if (command == Command::kBlockStatus) return kFlagRequestOne;
  return 0;
}

/// Commands that only look, on a range of the export.
Verdict judge_range(const Request& request, const Terms& terms) {
  if ((request.flags & ~flags_allowed(request.command, terms)) != 0) {
    return fail(Status::kInvalid, "a flag that this command does not have");
  }
  if (request.offset > terms.export_bytes || request.length > terms.export_bytes - request.offset) {
    return fail(Status::kInvalid, "the range ends behind the export");
  }
  if (request.command == Command::kBlockStatus) {
    if (!terms.block_status) return fail(Status::kInvalid, "no metadata context was negotiated");
    if (request.length == 0) return fail(Status::kInvalid, "no length");
    return {.action = Action::kBlockStatus};
  }
  if (request.length == 0) return {.action = Action::kSucceed};
  if (request.command == Command::kCache) return {.action = Action::kPrefetch};
  return judge_read(request, terms);
}

}  // namespace

Verdict judge(const Request& request, const Terms& terms) {
  switch (request.command) {
    case Command::kRead:
    case Command::kCache:
    case Command::kBlockStatus:
      return judge_range(request, terms);
    case Command::kWrite:
      return judge_write(request);
    case Command::kTrim:
    case Command::kWriteZeroes:
      return fail(Status::kNotPermitted, kReadOnlyText);
    case Command::kFlush:
      return {.action = Action::kSucceed};
    case Command::kDisconnect:
      return {.action = Action::kDisconnect};
  }
  return fail(Status::kInvalid, "unknown command");
}

}  // namespace vmpack::nbd
