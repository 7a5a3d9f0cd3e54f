// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/file_contents.hpp"

#include <algorithm>

namespace vmpack {

void FileContents::make_room() {
  contents_.resize(layout_.volumes.size());
  for (std::size_t i = 0; i < contents_.size(); ++i) contents_[i].resize(layout_.volumes[i].files.size());
}

void FileContents::add(const Window& window) {
  for (const CutObject& object : window.objects) {
    const Part& part = window.parts[object.part];
    if (part.file == Part::kNoFile || object.slack) continue;
    contents_[part.volume][part.file].pieces.push_back(
        {part.file_offset + object.part_offset, object.bytes, object.digest});
  }
}

void FileContents::know(std::uint32_t volume, std::uint32_t file, const Digest& content) {
  contents_[volume][file].known = content;
}

std::vector<std::vector<FileRecord>> FileContents::take_records() {
  std::vector<std::vector<FileRecord>> all(layout_.volumes.size());
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = records(i);
    contents_[i] = {};
  }
  return all;
}

std::vector<FileRecord> FileContents::records(std::size_t volume) {
  const std::vector<FileEntry>& files = layout_.volumes[volume].files;
  std::vector<FileRecord> records;
  records.reserve(files.size());
  for (std::size_t i = 0; i < files.size(); ++i) {
    records.push_back({files[i], digest_of(contents_[volume][i], files[i])});
  }
  const auto path = [](const FileRecord& record) -> const std::string& { return record.entry.path; };
  if (!std::ranges::is_sorted(records, {}, path)) std::ranges::stable_sort(records, {}, path);
  return records;
}

std::optional<Digest> FileContents::digest_of(Content& content, const FileEntry& file) {
  if (content.known) return content.known;
  std::vector<Piece>& pieces = content.pieces;
  if (pieces.empty()) return std::nullopt;
  if (pieces.size() == 1 && pieces[0].offset == 0 && pieces[0].bytes == file.size) return pieces[0].digest;
  std::ranges::sort(pieces, {}, &Piece::offset);
  Sha256 hasher;
  for (const Piece& piece : pieces) {
    hasher.update(struct_bytes(piece.offset));
    hasher.update(struct_bytes(piece.bytes));
    hasher.update(std::as_bytes(std::span(piece.digest.bytes)));
  }
  return hasher.finish();
}

}  // namespace vmpack
