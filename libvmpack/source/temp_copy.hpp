// SPDX-License-Identifier: Apache-2.0
// An image written out to a temporary file, so that other processes can read it.
#pragma once

#include <memory>
#include <string>

#include "libvmpack/source/source.hpp"

namespace vmpack {

/// Copies what is data, and gives a source with the same bytes that the appliance can attach to. `purpose` is
/// for messages: what the room is needed for. Throws what reading throws, and Error as TempImage does.
[[nodiscard]] std::unique_ptr<Source> copy_to_temp(Source& image, const std::string& purpose,
                                                   Progress& progress);

}  // namespace vmpack
