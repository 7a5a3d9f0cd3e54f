// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/file_table.hpp"

#include <fmt/core.h>

#include "formats/file_table_generated.h"
#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/flatbuffer.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

// A page ends before a path whose hash has these bits zero: 128 files on average.
constexpr std::uint64_t kBoundaryMask = 127;
constexpr std::size_t kPageFilesMin = 32;
constexpr std::size_t kPageFilesMax = 1024;
constexpr std::size_t kPageBytesMax = 256 * 1024;

Error damaged(std::string_view where, std::string_view what) {
  return {ErrorCode::kDamaged, fmt::format("{} is damaged: {}", where, what),
          "run 'vmpack verify' to see what it affects"};
}

std::size_t weight(const FileRecord& file) {
  return 128 + file.entry.path.size() + file.entry.target.size() +
         file.entry.extents.size() * sizeof(fb::FileExtent);
}

flatbuffers::Offset<fb::File> add_file(flatbuffers::FlatBufferBuilder& builder, const FileRecord& file) {
  const FileEntry& entry = file.entry;
  const auto path = builder.CreateString(entry.path);
  const auto target = entry.target.empty() ? 0 : builder.CreateString(entry.target);
  std::vector<fb::FileExtent> extents;
  extents.reserve(entry.extents.size());
  for (const FileExtent& extent : entry.extents) {
    extents.emplace_back(extent.file_offset, extent.disk_offset, extent.length);
  }
  const auto extents_offset = extents.empty() ? 0 : builder.CreateVectorOfStructs(extents);
  fb::Digest content;
  if (file.content) content = to_flatbuffer(*file.content);
  return fb::CreateFile(builder, path, static_cast<fb::FileType>(entry.type), entry.mode, entry.uid,
                        entry.gid, entry.inode, entry.modified_ns, entry.size, target,
                        file.content ? &content : nullptr, extents_offset);
}

Bytes encode_page(std::span<const FileRecord> files) {
  flatbuffers::FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<fb::File>> offsets;
  offsets.reserve(files.size());
  for (const FileRecord& file : files) offsets.push_back(add_file(builder, file));
  builder.Finish(fb::CreateFileTablePage(builder, builder.CreateVector(offsets)));
  const ByteView view = buffer_bytes(builder);
  return {view.begin(), view.end()};
}

FileRecord to_record(const fb::File& file) {
  FileRecord record;
  FileEntry& entry = record.entry;
  entry.path = file.path()->str();
  entry.type = static_cast<FileType>(file.type());
  entry.mode = file.mode();
  entry.uid = file.uid();
  entry.gid = file.gid();
  entry.inode = file.inode();
  entry.modified_ns = file.modified_ns();
  entry.size = file.bytes();
  if (file.target() != nullptr) entry.target = file.target()->str();
  if (file.content() != nullptr) record.content = from_flatbuffer(*file.content());
  for (const fb::FileExtent* extent : structs(file.extents())) {
    entry.extents.push_back({extent->file_offset(), extent->disk_offset(), extent->bytes()});
  }
  return record;
}

}  // namespace

std::string file_table_key(const FileTableDigest& table) {
  const std::string hex = table.hex();
  return fmt::format("files/{}/{}.files", hex.substr(0, 2), hex);
}

FileTableVolume build_file_table(std::uint32_t volume, std::span<const FileRecord> files,
                                 const StoreFileTablePage& store_page) {
  FileTableVolume table{volume, {}};
  std::size_t start = 0;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    bytes += weight(files[i]);
    const std::size_t count = i + 1 - start;
    const bool last = i + 1 == files.size();
    const bool boundary =
        !last && count >= kPageFilesMin && (xxh3(as_byte_view(files[i + 1].entry.path)) & kBoundaryMask) == 0;
    const bool full = !last && (count >= kPageFilesMax || bytes + weight(files[i + 1]) > kPageBytesMax);
    if (!last && !boundary && !full) continue;
    Bytes page = encode_page(files.subspan(start, count));
    // A single file with a monstrous extent list: the table is a convenience, the image is stored all the
    // same.
    if (page.size() > limits::kFileTablePageBytesMax) {
      FileRecord without = files[start];
      without.entry.extents.clear();
      page = encode_page(std::span(&without, 1));
    }
    table.pages.push_back(
        {store_page(std::move(page)), files[start].entry.path, static_cast<std::uint32_t>(count)});
    start = i + 1;
    bytes = 0;
  }
  return table;
}

Bytes encode(const FileTableRoot& root) {
  flatbuffers::FlatBufferBuilder builder;
  std::vector<flatbuffers::Offset<fb::FileTableVolume>> volumes;
  for (const FileTableVolume& volume : root.volumes) {
    std::vector<flatbuffers::Offset<fb::FileTablePageEntry>> pages;
    for (const FileTablePage& page : volume.pages) {
      const fb::Digest frame = to_flatbuffer(page.frame);
      const auto first_path = builder.CreateString(page.first_path);
      pages.push_back(fb::CreateFileTablePageEntry(builder, &frame, first_path, page.file_count));
    }
    volumes.push_back(fb::CreateFileTableVolume(builder, volume.volume, builder.CreateVector(pages)));
  }
  builder.Finish(fb::CreateFileTableRoot(builder, builder.CreateVector(volumes), root.file_count));
  return make_envelope(FileKind::kFileTable, buffer_bytes(builder), 0);
}

FileTableRoot decode_file_table_root(ByteView bytes, std::string_view where) {
  const Envelope envelope =
      parse_envelope(bytes, FileKind::kFileTable, where, limits::kFileTableRootBytesMax);
  if (bytes.size() != body_offset(envelope) || envelope.body_bytes != 0)
    throw damaged(where, "its length is wrong");
  const ByteView header = bytes.subspan(kEnvelopeBytes, envelope.header_bytes);
  check_header(envelope, header, where);
  const Bytes aligned(header.begin(), header.end());
  const auto* stored = verified_root<fb::FileTableRoot>(aligned, where);
  FileTableRoot root;
  root.file_count = stored->file_count();
  for (const fb::FileTableVolume* volume : structs(stored->volumes())) {
    FileTableVolume table{volume->volume(), {}};
    for (const fb::FileTablePageEntry* page : structs(volume->pages())) {
      table.pages.push_back(
          {FrameDigest(from_flatbuffer(*page->frame())), page->first_path()->str(), page->file_count()});
    }
    root.volumes.push_back(std::move(table));
  }
  return root;
}

std::vector<FileRecord> decode_file_table_page(ByteView bytes, std::string_view where) {
  const auto* stored = verified_root<fb::FileTablePage>(bytes, where);
  std::vector<FileRecord> records;
  for (const fb::File* file : structs(stored->files())) {
    records.push_back(to_record(*file));
    if (records.size() > 1 && records[records.size() - 2].entry.path > records.back().entry.path) {
      throw damaged(where, "its paths are out of order");
    }
  }
  return records;
}

}  // namespace vmpack
