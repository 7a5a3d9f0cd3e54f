// SPDX-License-Identifier: Apache-2.0
// Places in the cluster's stores that no other test uses.
#pragma once

#include <fmt/core.h>
#include <unistd.h>

#include <string>

#include "tests/support/run_command.hpp"

namespace vmpack::test {

/// Another one with each call.
inline std::string new_prefix() {
  static int count = 0;
  return fmt::format("test-{}/{}", ::getpid(), ++count);
}

}  // namespace vmpack::test
