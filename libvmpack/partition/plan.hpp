// SPDX-License-Identifier: Apache-2.0
// From a layout to the parts that a disk is cut along. Pure: needs no image, and trusts nothing the layout
// says.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "libvmpack/base/discarded_bytes.hpp"
#include "libvmpack/base/object_class.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/inspect/layout.hpp"
#include "libvmpack/partition/cutter.hpp"

namespace vmpack {

/// Largest part; longer files and runs are split at multiples of it, counted from their own start.
inline constexpr std::uint64_t kPartBytesMax = 16 * kMiB;
/// Unit in which file systems' metadata is cut, and in which zeros are looked for.
inline constexpr std::uint64_t kBlockBytes = 4 * kKiB;

/// A run of bytes that is cut on its own: a file, a piece of a file without holes, or a run of the disk that
/// belongs to no file. Ranges and bytes: the ranges hold `bytes`, in this order, and up to 511 bytes of slack
/// behind them.
struct Part {
  static constexpr std::uint32_t kNoFile = 0xffffffff;

  ObjectClass object_class = ObjectClass::kOpaque;
  Cutting cutting = Cutting::kContentDefined;
  std::uint32_t volume = 0;      ///< of the file, in the layout
  std::uint32_t file = kNoFile;  ///< in the volume
  std::uint64_t file_offset = 0;
  std::uint64_t bytes = 0;        ///< at most kPartBytesMax
  std::vector<ByteRange> ranges;  ///< on the disk, offsets and lengths multiples of 512
};

struct PlanOptions {
  std::uint32_t whole_file_bytes_max = 128 * kKiB;  ///< a file up to this size is one object
  bool discard_free = false;                        ///< leave out what discardable() says
  /// Plan for what lies in these ranges alone (sorted, in whole sectors): an image may be planned in turns.
  std::optional<std::vector<ByteRange>> only = std::nullopt;
  /// `only` is what changed since the layout was made: of a file the pieces that lie there are cut, each on
  /// its own, and long runs of metadata, or of nothing, are taken for new files.
  bool changes = false;
};

struct Plan {
  std::vector<Part> parts;  ///< sorted by where they begin on the disk
  std::uint64_t files_rejected =
      0;  ///< whose extents made no sense; their blocks are in parts without a file
  DiscardedBytes discarded;
};

/// What all parts hold.
[[nodiscard]] std::uint64_t bytes_of(const Plan& plan);

/// Whether what `volume` calls free may be dropped: its file system was inspected, cleanly unmounted and
/// found without damage.
[[nodiscard]] bool free_is_discardable(const Volume& volume);

/// Of a swap volume this much is kept from its start: its header (in the first page, whose size depends on
/// the machine), label and UUID among it.
inline constexpr std::uint64_t kSwapHeaderBytes = 64 * kKiB;

/// `changed` (sorted, in whole sectors) and all of those files of which at least half changed, as far as they
/// lie in `readable`: such a file is worth being cut as a whole, because it may be known as a whole.
[[nodiscard]] std::vector<ByteRange> widen_to_files(const Layout& layout, std::span<const ByteRange> changed,
                                                    std::span<const ByteRange> readable);

/// Covers every byte of `data` that is in `options.only` (sorted, sector-aligned ranges that may hold
/// something else than zeros) with exactly one part. Whatever the layout claims can change where cuts fall,
/// and nothing else; unless `discard_free` asks for it: then discardable free space and the contents of
/// "swap" volumes are in no part, but for what a file claims.
[[nodiscard]] Plan make_plan(const Layout& layout, std::span<const ByteRange> data,
                             const PlanOptions& options);

}  // namespace vmpack
