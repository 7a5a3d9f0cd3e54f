// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/ext_map.hpp"

namespace vmpack {
namespace {

bool inside(ext2_filsys fs, std::uint64_t block, std::uint64_t count) {
  const std::uint64_t blocks = ext2fs_blocks_count(fs->super);
  return block >= fs->super->s_first_data_block && block < blocks && count <= blocks - block;
}

/// Appends a run, joined to the last one where it continues it. False when it overlaps or leaves the file
/// system.
bool add_run(ext2_filsys fs, BlockMap& map, const BlockRun& run) {
  if (run.count == 0 || !inside(fs, run.physical, run.count)) return false;
  if (!map.runs.empty()) {
    BlockRun& last = map.runs.back();
    if (run.logical < last.logical + last.count) return false;
    if (run.logical == last.logical + last.count && run.physical == last.physical + last.count &&
        run.written == last.written) {
      last.count += run.count;
      return true;
    }
  }
  map.runs.push_back(run);
  return true;
}

void read_extents(ext2_filsys fs, ext2_ino_t number, ext2_inode& inode, WorkBudget& budget, BlockMap& map) {
  ext2_extent_handle_t handle = nullptr;
  if (ext2fs_extent_open2(fs, number, &inode, &handle) != 0) {
    map.damaged = true;
    return;
  }
  ext2fs_extent extent{};
  int step = EXT2_EXTENT_ROOT;
  errcode_t error = 0;
  // Every node and every extent is one step, so that a tree that contains itself ends with the budget, if its
  // extents do not come out of order before.
  while ((error = ext2fs_extent_get(handle, step, &extent)) == 0) {
    step = EXT2_EXTENT_NEXT;
    if (!budget.spend()) break;
    if ((extent.e_flags & EXT2_EXTENT_FLAGS_LEAF) == 0) continue;
    if ((extent.e_flags & EXT2_EXTENT_FLAGS_SECOND_VISIT) != 0) continue;
    if (!add_run(
            fs, map,
            {extent.e_lblk, extent.e_pblk, extent.e_len, (extent.e_flags & EXT2_EXTENT_FLAGS_UNINIT) == 0})) {
      error = EXT2_ET_EXTENT_LEAF_BAD;
      break;
    }
  }
  map.damaged = error != EXT2_ET_EXTENT_NO_NEXT;
  ext2fs_extent_free(handle);
}

struct Iteration {
  BlockMap* map;
  WorkBudget* budget;
};

// Called for every mapped block, indirect blocks (with a negative logical number) included.
int visit_block(ext2_filsys fs, blk64_t* block, e2_blkcnt_t logical, blk64_t, int, void* data) {
  auto& iteration = *static_cast<Iteration*>(data);
  BlockMap& map = *iteration.map;
  const bool good =
      iteration.budget->spend() &&
      (logical < 0 ? inside(fs, *block, 1)
                   : add_run(fs, map, {static_cast<std::uint64_t>(logical), *block, 1, /*written=*/true}));
  if (good) return 0;
  map.damaged = true;
  return BLOCK_ABORT;
}

}  // namespace

void read_block_map(ext2_filsys fs, ext2_ino_t number, ext2_inode& inode, WorkBudget& budget, BlockMap& map) {
  map.runs.clear();
  map.damaged = false;
  if (budget.exhausted()) {
    map.damaged = true;
  } else if ((inode.i_flags & EXT4_EXTENTS_FL) != 0) {
    read_extents(fs, number, inode, budget, map);
  } else {
    Iteration iteration{&map, &budget};
    if (ext2fs_block_iterate3(fs, number, BLOCK_FLAG_READ_ONLY, nullptr, visit_block, &iteration) != 0) {
      map.damaged = true;
    }
  }
}

}  // namespace vmpack
