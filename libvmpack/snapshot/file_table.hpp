// SPDX-License-Identifier: Apache-2.0
// The file table: which files a snapshot's volumes hold, in pages by path that snapshots share.
// Format: formats/file_table.md. Read by diff, cat, profiles and lint; never needed to serve an image.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/file_entry.hpp"

namespace vmpack {

/// A file with the digest of its content. Of one object: that object's digest. Of several: the SHA-256 over
/// each object's offset in the file, length (both as little-endian u64) and digest, in order.
struct FileRecord {
  FileEntry entry;
  std::optional<Digest> content;
};

struct FileTablePage {
  FrameDigest frame;
  std::string first_path;
  std::uint32_t file_count = 0;
};

struct FileTableVolume {
  std::uint32_t volume = 0;  ///< position in the manifest's layout
  std::vector<FileTablePage> pages;
};

struct FileTableRoot {
  std::vector<FileTableVolume> volumes;
  std::uint64_t file_count = 0;
};

/// "files/ab/ab12….files".
[[nodiscard]] std::string file_table_key(const FileTableDigest& table);

/// Stores a page's bytes as an object in a frame of its own, or finds it stored, and returns that frame.
using StoreFileTablePage = std::function<FrameDigest(Bytes page)>;

/// Cuts `files`, which must be sorted by path, into pages at paths that hash to a boundary, so that a file
/// more or less changes one page.
[[nodiscard]] FileTableVolume build_file_table(std::uint32_t volume, std::span<const FileRecord> files,
                                               const StoreFileTablePage& store_page);

[[nodiscard]] Bytes encode(const FileTableRoot& root);
/// Throw kDamaged, kLimit or kUnsupported naming `where`.
[[nodiscard]] FileTableRoot decode_file_table_root(ByteView bytes, std::string_view where);
[[nodiscard]] std::vector<FileRecord> decode_file_table_page(ByteView bytes, std::string_view where);

}  // namespace vmpack
