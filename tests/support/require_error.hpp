// SPDX-License-Identifier: Apache-2.0
// The Error that a piece of code throws; the test fails when it throws none.
#pragma once

#include <utility>

#include "libvmpack/base/error.hpp"

namespace vmpack::test {

template <typename Function>
[[nodiscard]] Error error_of(Function&& function) {
  try {
    std::forward<Function>(function)();
  } catch (const Error& error) {
    return error;
  }
  throw std::logic_error("an Error was expected, and none was thrown");
}

}  // namespace vmpack::test
