// SPDX-License-Identifier: Apache-2.0
// The program vmpack as a user runs it, and a repository to run it on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libvmpack/base/json.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {

/// Runs vmpack with these arguments, whatever comes of it.
[[nodiscard]] CommandResult vmpack(std::vector<std::string> arguments, const CommandOptions& options = {});
/// The same; the test ends unless vmpack exits with 0. Returns what it printed.
std::string vmpack_done(const std::vector<std::string>& arguments, const CommandOptions& options = {});
/// The same with --json, parsed.
OrderedJson vmpack_json(std::vector<std::string> arguments, const CommandOptions& options = {});

/// The test fails unless vmpack ended with `exit_code` and one line on stderr that holds each of `words`.
void require_one_line(const CommandResult& result, int exit_code, const std::vector<std::string>& words);

/// A folder in memory where there is one: for tests that do not care for durability and run vmpack hundreds
/// of times.
[[nodiscard]] std::string memory_folder();

/// An empty repository in a folder of its own, with room for images beside it.
class SampleRepository {
 public:
  SampleRepository();
  /// Below `parent`.
  explicit SampleRepository(const std::string& parent);

  [[nodiscard]] std::string path() const { return folder_ / "repository"; }
  /// A path beside the repository.
  [[nodiscard]] std::string operator/(std::string_view name) const { return folder_ / name; }
  [[nodiscard]] const std::string& folder() const { return folder_.path(); }

  /// Packs and tells the facts; the test ends when that fails.
  OrderedJson ingest(const std::string& image, const std::string& reference,
                     const std::vector<std::string>& more = {}) const;
  /// Ingests without asking for success.
  [[nodiscard]] CommandResult try_ingest(const std::string& image, const std::string& reference,
                                         const std::vector<std::string>& more = {}) const;
  /// Writes a snapshot to `out`, which may exist.
  void restore(const std::string& reference, const std::string& out) const;
  [[nodiscard]] CommandResult verify(const std::vector<std::string>& more = {}) const;
  /// The test ends when verify finds anything.
  void require_intact() const;

  /// Ingests `image`, restores it, and compares with `raw`, which holds the same disk (`image` itself, if it
  /// is raw).
  void require_round_trip(const std::string& image, const std::string& raw,
                          const std::vector<std::string>& more = {}) const;

  /// Keys and contents of all files but those that are being written.
  [[nodiscard]] std::vector<std::pair<std::string, Bytes>> contents() const;

 private:
  TempDir folder_;
};

/// Makes the repository cut its packs at 1 MiB, so that small images have several of them; and its frames at
/// `frame_bytes` where that is not 0.
void use_small_packs(const SampleRepository& repository, std::uint32_t frame_bytes = 0);

}  // namespace vmpack::test
