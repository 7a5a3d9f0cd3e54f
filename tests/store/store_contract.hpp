// SPDX-License-Identifier: Apache-2.0
// What every store must do, whatever it lies on (libvmpack/store/store.hpp).
#pragma once

#include <functional>
#include <memory>

#include "libvmpack/store/store.hpp"

namespace vmpack::test {

/// Opens the store under test anew: each call gives another handle on the same place. Also called in child
/// processes.
using OpenStore = std::function<std::unique_ptr<Store>()>;

/// What becomes of several who write one key at once.
enum class Races {
  kOneWins,        ///< exactly one of them, and it alone is told so
  kLastWriterWins  ///< whoever's value is there in the end is told so; others may be
};

/// Call it from a TEST_CASE whose store is empty; it consists of sections.
void check_store_contract(const OpenStore& open, Races races = Races::kOneWins);

}  // namespace vmpack::test
