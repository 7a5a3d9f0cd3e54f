// SPDX-License-Identifier: Apache-2.0
// Which container format an image file has. A guest writes every byte of its raw disk, also bytes that look
// like the header of another format: docs/decisions/0006-format-detection.md says what is believed, and why.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

struct DetectedFormat {
  std::string name;  ///< "raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "qed"
  /// False: only the file's contents say so, and not its name. Such an image may be used as long as it stands
  /// for itself; one that names other files must not be believed.
  bool confirmed_by_name = false;
};

/// `head` is the file's first kFormatHeadBytes (or all of it), `tail` its last kFormatTailBytes. Throws
/// Error: kInvalid when name and contents contradict each other, kDamaged when the header cannot be right,
/// kUnsupported for a later version of a format. `path` serves for its extension and for messages.
[[nodiscard]] DetectedFormat detect_format(const std::string& path, ByteView head, ByteView tail,
                                           std::uint64_t file_bytes);

inline constexpr std::size_t kFormatHeadBytes = 256 * 1024;
inline constexpr std::size_t kFormatTailBytes = 512;

/// Reads what detect_format() needs from a file or block device.
[[nodiscard]] DetectedFormat detect_file_format(const std::string& path);

/// Throws Error (kInvalid) that lists the formats unless `name` is one of them.
void check_format_name(std::string_view name);

/// "gzip" and the like when an image is a compressed file, which would be stored as it is; else empty.
[[nodiscard]] std::string_view compressed_file_kind(ByteView head);

}  // namespace vmpack
