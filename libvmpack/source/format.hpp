// SPDX-License-Identifier: Apache-2.0
// Which container format an image file has. A guest writes every byte of its raw disk, also bytes that look
// like the header of another format: docs/decisions/0006-format-detection.md says what is believed, and why.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {

struct DetectedFormat {
  /// "raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc", "qed"; or what wraps an image: "gzip", "xz", "zstd",
  /// "bzip2", "ova"
  std::string name;
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
/// The same of a part of a file, which has the name `name`. The part must lie inside the file.
[[nodiscard]] DetectedFormat detect_part_format(const std::string& path, ByteRange part,
                                                const std::string& name);

/// Throws Error (kInvalid) that lists the formats unless `name` is one of them. What wraps an image is none.
void check_format_name(std::string_view name);

/// "gzip" and the like when the file at `path` begins like something that wraps an image; else empty.
[[nodiscard]] std::string_view wrapping_of(const std::string& path);
/// "zip" and the like when an image is an archive, which would be stored as it is; else empty.
[[nodiscard]] std::string_view archive_kind(ByteView head);

}  // namespace vmpack
