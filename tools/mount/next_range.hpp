// SPDX-License-Identifier: Apache-2.0
// Finds data and holes in an image, as lseek() with SEEK_DATA and SEEK_HOLE does in a file.
#pragma once

#include <cstdint>
#include <optional>

#include "libvmpack/read/image_reader.hpp"

namespace vmpack {

/// The first byte from `offset` on that is data, or nullopt up to the end of the image. May block on map
/// pages. Any thread.
[[nodiscard]] std::optional<std::uint64_t> next_data(const ImageReader& image, std::uint64_t offset);
/// The first byte from `offset` on that is in a hole. Behind the last byte of the image there is one.
[[nodiscard]] std::uint64_t next_hole(const ImageReader& image, std::uint64_t offset);

}  // namespace vmpack
