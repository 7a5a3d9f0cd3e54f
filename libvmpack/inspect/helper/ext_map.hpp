// SPDX-License-Identifier: Apache-2.0
// Which blocks of an ext2/3/4 file system belong to an inode, whatever nonsense its block map holds.
#pragma once

#include <ext2fs/ext2fs.h>

#include <cstdint>
#include <vector>

#include "libvmpack/inspect/helper/work_budget.hpp"

namespace vmpack {

/// Blocks [logical, logical + count) of a file lie at `physical` onwards.
struct BlockRun {
  std::uint64_t logical = 0;
  std::uint64_t physical = 0;
  std::uint64_t count = 0;
  bool written = true;  ///< false: preallocated, reads as zeros
};

struct BlockMap {
  std::vector<BlockRun> runs;  ///< ascending and not overlapping in `logical`, all inside the file system
  bool damaged = false;        ///< the map makes no sense from some point on; `runs` holds what came before
};

/// `inode` must have a block map: a regular file or directory without inline data. Clears and fills `map`.
void read_block_map(ext2_filsys fs, ext2_ino_t number, ext2_inode& inode, WorkBudget& budget, BlockMap& map);

}  // namespace vmpack
