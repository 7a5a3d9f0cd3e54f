// SPDX-License-Identifier: Apache-2.0
// Why a build holds bytes that an earlier one does not: rules on evidence, without I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace vmpack {

enum class Cause : std::uint8_t {
  kPackage,          ///< a file of a package that has another version
  kInitrd,           ///< an initial RAM disk, made anew
  kKernel,           ///< a kernel or its modules
  kPackageDatabase,  ///< what a package manager knows
  kCache,            ///< what can be made again from something else
  kLog,
  kIdentifier,   ///< what tells one machine from another: IDs, keys, UUIDs
  kSettings,     ///< a file below /etc
  kChanged,      ///< any other file that the earlier build has with other content
  kAdded,        ///< a file that the earlier build does not have
  kSwap,         ///< swap space, page files
  kResidue,      ///< what deleted files left in free blocks
  kFsMetadata,   ///< what a file system stores about its files: places, times, names
  kBootArea,     ///< outside of volumes: partition tables, boot loaders
  kOpaque,       ///< a volume that could not be read
  kSameContent,  ///< a file with the same content in both builds, yet not the same stored bytes
};

inline constexpr std::size_t kCauseCount = 16;

/// For programs: "new-package-version".
[[nodiscard]] std::string_view to_string(Cause cause);
/// For people: "new package versions".
[[nodiscard]] std::string_view describe(Cause cause);

/// What is known of a file of the later build.
struct FileEvidence {
  std::string_view path;
  bool in_both = false;        ///< the earlier build has a file of that path
  bool same_content = false;   ///< and with this content
  bool other_version = false;  ///< the earlier build alone has one of the same path but for digits
  bool from_archive = false;   ///< the time of its last change is whole seconds and another than the earlier
                               ///< build's: it was unpacked, as packages are, and not written in place
  bool packages_stay = false;  ///< both builds are known to have the same versions of all packages
};

/// Looks at where the file lies, then at what happened to it; the table is in the .cpp file.
[[nodiscard]] Cause cause_of_file(const FileEvidence& evidence);

/// Whether packages install files there.
[[nodiscard]] bool is_package_folder(std::string_view path);

}  // namespace vmpack
