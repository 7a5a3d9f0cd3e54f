// SPDX-License-Identifier: Apache-2.0
// An image that is read from a temporary file.
#pragma once

#include <memory>

#include "libvmpack/source/source.hpp"
#include "libvmpack/source/temp_image.hpp"

namespace vmpack {

/// Keeps `file` as long as the source lives. `served` reads it through an NBD server; `direct`, if it is not
/// null, reads the same bytes faster, and is then used for everything but the attachment: the file has no
/// name that other processes could open it by.
[[nodiscard]] std::unique_ptr<Source> make_unpacked_source(TempImage file, std::unique_ptr<Source> served,
                                                           std::unique_ptr<Source> direct);

}  // namespace vmpack
