// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/request.hpp"

#include <catch2/catch.hpp>
#include <limits>

namespace vmpack::nbd {
namespace {

constexpr std::uint64_t kExportBytes = 100 * kMiB + 512;
constexpr Terms kFull{kExportBytes, true, true};
constexpr Terms kPlain{kExportBytes, false, false};

Verdict judge_one(Command command, std::uint64_t offset, std::uint32_t length, Terms terms = kFull,
                  std::uint16_t flags = 0) {
  return judge({flags, command, 1, offset, length}, terms);
}

void check_fails(const Verdict& verdict, Status status) {
  CHECK(verdict.action == Action::kFail);
  CHECK(verdict.status == status);
  CHECK_FALSE(verdict.message.empty());
}

TEST_CASE("a read inside the export is accepted at any alignment") {
  CHECK(judge_one(Command::kRead, 0, 1).action == Action::kRead);
  CHECK(judge_one(Command::kRead, 12345, 6789).action == Action::kRead);
  CHECK(judge_one(Command::kRead, kExportBytes - 1, 1).action == Action::kRead);
  CHECK(judge_one(Command::kRead, 0, 32 * kMiB).action == Action::kRead);
  CHECK(judge_one(Command::kRead, 0, 32 * kMiB, kPlain).action == Action::kRead);
}

TEST_CASE("a range that ends behind the export is invalid, whatever overflows") {
  for (const auto command : {Command::kRead, Command::kCache, Command::kBlockStatus}) {
    check_fails(judge_one(command, kExportBytes, 1), Status::kInvalid);
    check_fails(judge_one(command, kExportBytes - 1, 2), Status::kInvalid);
    check_fails(judge_one(command, std::numeric_limits<std::uint64_t>::max(), 1), Status::kInvalid);
    check_fails(judge_one(command, 1ULL << 63, 0xffffffff), Status::kInvalid);
  }
}

TEST_CASE("a read that is too large gets the error that its client understands") {
  check_fails(judge_one(Command::kRead, 0, 32 * kMiB + 1), Status::kOverflow);
  check_fails(judge_one(Command::kRead, 0, 32 * kMiB + 1, kPlain), Status::kInvalid);
}

TEST_CASE("a request without a length succeeds, but has no block status") {
  CHECK(judge_one(Command::kRead, 0, 0).action == Action::kSucceed);
  CHECK(judge_one(Command::kRead, kExportBytes, 0).action == Action::kSucceed);
  CHECK(judge_one(Command::kCache, 512, 0).action == Action::kSucceed);
  check_fails(judge_one(Command::kBlockStatus, 0, 0), Status::kInvalid);
}

TEST_CASE("flags are accepted only where the protocol has them") {
  CHECK(judge_one(Command::kRead, 0, 1, kFull, kFlagDontFragment).action == Action::kRead);
  check_fails(judge_one(Command::kRead, 0, 1, kPlain, kFlagDontFragment), Status::kInvalid);
  CHECK(judge_one(Command::kBlockStatus, 0, 1, kFull, kFlagRequestOne).action == Action::kBlockStatus);
  check_fails(judge_one(Command::kRead, 0, 1, kFull, kFlagRequestOne), Status::kInvalid);
  check_fails(judge_one(Command::kCache, 0, 1, kFull, kFlagDontFragment), Status::kInvalid);
  check_fails(judge_one(Command::kRead, 0, 1, kFull, 1U << 15), Status::kInvalid);
}

TEST_CASE("block status needs its context") {
  CHECK(judge_one(Command::kBlockStatus, 0, 512).action == Action::kBlockStatus);
  check_fails(judge_one(Command::kBlockStatus, 0, 512, {kExportBytes, true, false}), Status::kInvalid);
}

TEST_CASE("whatever would change the export is not permitted, and a write's data is skipped") {
  const auto write = judge_one(Command::kWrite, 0, 8192);
  check_fails(write, Status::kNotPermitted);
  CHECK(write.skip_bytes == 8192);
  check_fails(judge_one(Command::kTrim, 0, 512), Status::kNotPermitted);
  check_fails(judge_one(Command::kWriteZeroes, 0, 512), Status::kNotPermitted);
  CHECK(judge_one(Command::kWriteZeroes, 0, 512).skip_bytes == 0);
}

TEST_CASE("a write with an absurd length ends the connection") {
  CHECK(judge_one(Command::kWrite, 0, 32 * kMiB).action == Action::kFail);
  CHECK(judge_one(Command::kWrite, 0, 32 * kMiB + 1).action == Action::kClose);
}

TEST_CASE("flush succeeds, disconnect ends, anything else is invalid") {
  CHECK(judge_one(Command::kFlush, 0, 0).action == Action::kSucceed);
  CHECK(judge_one(Command::kDisconnect, 0, 0).action == Action::kDisconnect);
  check_fails(judge_one(static_cast<Command>(8), 0, 0), Status::kInvalid);
  check_fails(judge_one(static_cast<Command>(0xffff), 0, 0), Status::kInvalid);
}

}  // namespace
}  // namespace vmpack::nbd
