// SPDX-License-Identifier: Apache-2.0
// Every length that is read from a file, a socket or a child is held against one of these before memory is
// taken.
#pragma once

#include <cstdint>

#include "libvmpack/base/units.hpp"

namespace vmpack::limits {

inline constexpr std::uint64_t kImageBytesMax = 16 * kTiB;

inline constexpr std::uint64_t kObjectBytesMax = 1 * kMiB;
inline constexpr std::uint64_t kFrameRawBytesMax = 4 * kMiB;
inline constexpr std::uint64_t kFrameStoredBytesMax = kFrameRawBytesMax + 64 * kKiB;
inline constexpr std::uint32_t kFrameObjectsMax = 8192;
inline constexpr std::uint32_t kFrameBasesMax = 16;
/// Of all frames that a delta frame is compressed against.
inline constexpr std::uint64_t kDeltaPrefixBytesMax = 2 * kFrameRawBytesMax;

inline constexpr std::uint64_t kPackBytesMax = 1 * kGiB;
inline constexpr std::uint64_t kPackTableBytesMax = 256 * kMiB;

/// Root, directory or page of a block map. Typical ones stay under 64 KiB; docs/decisions/0002-block-map.md.
inline constexpr std::uint64_t kMapNodeBytesMax = kFrameRawBytesMax;
inline constexpr std::uint64_t kMapRootBytesMax = 4 * kMiB;

inline constexpr std::uint64_t kFileTableRootBytesMax = 64 * kMiB;
inline constexpr std::uint64_t kFileTablePageBytesMax = kFrameRawBytesMax;

inline constexpr std::uint64_t kPlacesHeaderBytesMax = 64 * kMiB;
inline constexpr std::uint64_t kPlacesFileBytesMax = 16 * kGiB;
inline constexpr std::uint64_t kIndexHeaderBytesMax = 1 * kGiB;
inline constexpr std::uint64_t kIndexFileBytesMax = 16 * kGiB;
/// What is merged or rebuilt goes into files of at most this many objects, about 800 MB: more make more
/// files.
inline constexpr std::uint64_t kIndexFileObjectsMax = 16 * 1024 * 1024;

inline constexpr std::uint64_t kJsonBytesMax = 64 * kMiB;
inline constexpr std::uint64_t kReferencePartBytesMax = 128;
inline constexpr std::uint64_t kLabelBytesMax = 4 * kKiB;

/// What a server of an HTTP store may answer. A list of S3 has at most 1000 keys of at most 1024 bytes, each
/// of which may take three.
inline constexpr std::uint64_t kHttpHeaderBytesMax = 64 * kKiB;
inline constexpr std::uint64_t kS3ErrorBytesMax = 64 * kKiB;
inline constexpr std::uint64_t kS3ListBytesMax = 8 * kMiB;

/// What inspection may claim about one image.
inline constexpr std::uint64_t kVolumesMax = 256;
inline constexpr std::uint64_t kFilesMax = 64'000'000;
inline constexpr std::uint64_t kPathBytesMax = 4096;
inline constexpr std::uint64_t kFileExtentsMax = 4'000'000;

}  // namespace vmpack::limits
