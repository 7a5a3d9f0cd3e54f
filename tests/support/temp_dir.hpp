// SPDX-License-Identifier: Apache-2.0
// A folder of its own for a test, removed with all it holds.
#pragma once

#include <string>
#include <string_view>

namespace vmpack::test {

class TempDir {
 public:
  /// Below $TMPDIR or /tmp; or below `parent` (a small file system, say).
  TempDir();
  explicit TempDir(const std::string& parent);
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  /// The path of something inside.
  [[nodiscard]] std::string operator/(std::string_view name) const;

 private:
  std::string path_;
};

}  // namespace vmpack::test
