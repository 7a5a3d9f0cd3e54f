// SPDX-License-Identifier: Apache-2.0
// Restoring to qcow2.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "libvmpack/read/restore.hpp"

namespace vmpack {

/// As open_raw_sink(), for a qcow2 file. Needs the QEMU tools. With `compress` its clusters are compressed by
/// zstd, and it must be written by restore_blocks(), in blocks of kQcow2ClusterBytes.
[[nodiscard]] std::unique_ptr<ImageSink> open_qcow2_sink(const std::string& path, std::uint64_t image_bytes,
                                                         bool replace, bool compress);

}  // namespace vmpack
