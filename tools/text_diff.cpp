// SPDX-License-Identifier: Apache-2.0
#include "tools/text_diff.hpp"

#include <fmt/core.h>

#include <chrono>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/source/sandbox.hpp"

namespace vmpack::cli {
namespace {

constexpr std::chrono::seconds kTimeMax{60};
constexpr std::size_t kOutputBytesMax = 16 * kMiB;
constexpr int kSame = 0;
constexpr int kDifferent = 1;

}  // namespace

std::string unified_diff(const LabelledText& before, const LabelledText& after) {
  const NamedTempImage old_file(before.text, "before");
  const NamedTempImage new_file(after.text, "after");
  SandboxPolicy policy;
  policy.readable_paths = {old_file.path(), new_file.path()};
  policy.read_any_file = true;
  ToolOutput output = run_sandboxed({find_program("diff", "diffutils"), "-u", "--label", before.label,
                                     "--label", after.label, "--", old_file.path(), new_file.path()},
                                    policy, kOutputBytesMax, kTimeMax);
  if (output.status.signal != 0 || (output.status.code != kSame && output.status.code != kDifferent)) {
    throw Error(ErrorCode::kIo,
                fmt::format("diff failed ({}): {}", output.status.describe(), output.error_line));
  }
  return std::move(output.out);
}

}  // namespace vmpack::cli
