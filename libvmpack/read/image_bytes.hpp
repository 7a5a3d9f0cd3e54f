// SPDX-License-Identifier: Apache-2.0
// An image as bytes to read, whether it is a snapshot or lies in a file.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/file_entry.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/read/image_reader.hpp"

namespace vmpack {

/// Functions may be called from any thread, by several at once, for ranges inside the image.
struct ImageBytes {
  std::uint64_t size = 0;  ///< in bytes, a multiple of 512
  std::function<void(std::uint64_t offset, ByteSpan into)> read;
  /// What may hold something else than zeros: sorted, in whole sectors.
  std::function<std::vector<ByteRange>(std::uint64_t offset, std::uint64_t length)> data_ranges;
};

[[nodiscard]] ImageBytes bytes_of(std::shared_ptr<const ImageReader> image);

/// Calls `write` for all bytes of a file, in order, in pieces; what its extents leave out is zeros. Throws
/// kDamaged before the first piece when the extents make no sense, and what reading the image throws.
void read_file(const ImageBytes& image, const FileEntry& file, const std::function<void(ByteView)>& write);

/// Whether two files of one size hold the same bytes. Throws as read_file().
[[nodiscard]] bool same_content(const ImageBytes& before, const FileEntry& old_file, const ImageBytes& after,
                                const FileEntry& new_file);

}  // namespace vmpack
