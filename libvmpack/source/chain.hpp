// SPDX-License-Identifier: Apache-2.0
// Finds every file that an image is read through, and refuses those that an image must not reach: it may have
// been uploaded by somebody who would like to read a file of this host.
#pragma once

#include <cstdint>
#include <string>

#include "libvmpack/source/qemu.hpp"
#include "libvmpack/source/source.hpp"

namespace vmpack {

inline constexpr std::size_t kChainDepthMax = 64;

/// Whether an image may name others that it is read through (backing and data files, extents).
enum class OtherFiles : std::uint8_t {
  kResolved,     ///< yes
  kUnconfirmed,  ///< no: only its contents say that it is such an image (DetectedFormat)
  kUnreachable,  ///< no: it was taken out of something (an OVA), and has no folder to look in
};

/// Walks the chain below `top`, of which path (canonical), format and part are known. Each file that a layer
/// names is resolved from that layer's folder and must lie below `backing_root` (canonical). Checks the
/// tables of every layer. Throws Error: kRefused (outside, not a file), kNotFound, kInvalid (a loop, an image
/// that must be confirmed), kLimit, kDamaged, kUnsupported (names others that cannot be reached).
[[nodiscard]] ImageChain resolve_chain(ImageLayer top, OtherFiles other_files,
                                       const std::string& backing_root);

/// The layers that lie on top of another image, and what the lowest of them says of that.
struct OverlayChain {
  ImageChain layers;
  std::string base;  ///< as written in the image
};

/// Walks down from `top`, an overlay, to the last layer that has a backing file; that one is not opened, and
/// need not be there. Files are held to the same rules. Throws what resolve_chain() throws, and kInvalid when
/// `top` has no backing file.
[[nodiscard]] OverlayChain resolve_overlay(ImageLayer top, const std::string& backing_root);

}  // namespace vmpack
