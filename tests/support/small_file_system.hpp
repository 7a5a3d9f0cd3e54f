// SPDX-License-Identifier: Apache-2.0
// A file system of a given size, to be filled up. It is mounted in a mount namespace of the test's own, so
// that it is gone with the test however that ends.
#pragma once

#include <cstdint>
#include <string>

#include "tests/support/temp_dir.hpp"

namespace vmpack::test {

class SmallFileSystem {
 public:
  enum class Kind : std::uint8_t {
    kTmpfs,
    kExt4,  ///< on a loop device: finds out about lack of space in other places than tmpfs
  };

  SmallFileSystem(Kind kind, std::uint64_t bytes);
  ~SmallFileSystem();
  SmallFileSystem(const SmallFileSystem&) = delete;
  SmallFileSystem& operator=(const SmallFileSystem&) = delete;

  /// Where it is mounted; seen by this test and the programs it runs.
  [[nodiscard]] std::string path() const { return folder_ / "mounted"; }

  void make_read_only();

  /// Mounting takes root, and a kernel or container that allows it. A test that needs it says so and ends
  /// otherwise.
  [[nodiscard]] static bool possible();

 private:
  TempDir folder_;
};

}  // namespace vmpack::test
