// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>
#include <unistd.h>

#include <filesystem>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/store/store.hpp"
#include "tools/doctor/check.hpp"

namespace vmpack::cli::doctor {
namespace {

constexpr std::uint64_t kFreeBytesMin = 1 * kGiB;

Check check_writable(const std::string& folder) {
  if (::access(folder.c_str(), W_OK) == 0) return {.name = "repository: writing", .found = "allowed"};
  return {.name = "repository: writing",
          .verdict = Verdict::kWarning,
          .found = "this user may only read it",
          .advice = "good enough for vmserve; to ingest, run as the repository's owner"};
}

Check check_space(const std::string& folder) {
  std::error_code failed;
  const auto space = std::filesystem::space(folder, failed);
  Check check{.name = "repository: space", .found = format_bytes(space.available) + " free"};
  if (failed) check = {check.name, Verdict::kWarning, failed.message(), "look at the disk that holds it"};
  if (!failed && space.available < kFreeBytesMin) {
    check.verdict = Verdict::kWarning;
    check.advice = "'vmpack forget' and 'vmpack gc' free some";
  }
  return check;
}

}  // namespace

std::vector<Check> check_repository(const std::string& location,
                                    std::shared_ptr<const Repository>& repository) {
  try {
    repository = Repository::open(open_store(location));
    const std::string folder = repository->store().location();
    std::vector<Check> checks = {{.name = "repository",
                                  .found = fmt::format("{} with {} references", printable(folder),
                                                       format_count(repository->references().size()))}};
    if (std::filesystem::is_directory(folder)) {
      checks.push_back(check_writable(folder));
      checks.push_back(check_space(folder));
    }
    return checks;
  } catch (const Error& error) {
    return {{"repository", Verdict::kProblem, error.what(),
             error.hint().empty() ? "see 'vmpack verify'" : error.hint()}};
  }
}

}  // namespace vmpack::cli::doctor
