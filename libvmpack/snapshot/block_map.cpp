// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/snapshot/block_map.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "formats/block_map_generated.h"
#include "libvmpack/base/envelope.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/flatbuffer.hpp"
#include "libvmpack/base/limits.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kRootDirectoriesTarget = 2048;

Error damaged(std::string_view where, std::string_view what) {
  return {ErrorCode::kDamaged, fmt::format("{} is damaged: {}", where, what),
          "run 'vmpack verify' to see what it affects"};
}

std::vector<fb::MapChild> to_structs(const std::vector<MapChild>& children) {
  std::vector<fb::MapChild> structs;
  structs.reserve(children.size());
  for (const MapChild& child : children) structs.emplace_back(to_flatbuffer(child.frame), child.index, 0U);
  return structs;
}

std::vector<MapChild> from_structs(const flatbuffers::Vector<const fb::MapChild*>* stored,
                                   std::uint64_t index_end, std::string_view where) {
  std::vector<MapChild> children;
  std::uint64_t next = 0;
  for (const fb::MapChild* child : structs(stored)) {
    if (child->index() < next || child->index() >= index_end)
      throw damaged(where, "its children are out of order");
    next = std::uint64_t{child->index()} + 1;
    children.push_back({child->index(), FrameDigest(from_flatbuffer(child->frame()))});
  }
  return children;
}

Bytes copy(const flatbuffers::FlatBufferBuilder& builder) {
  const ByteView view = buffer_bytes(builder);
  return {view.begin(), view.end()};
}

}  // namespace

void PageBuilder::add(std::uint64_t disk_offset, std::uint64_t length, const FrameDigest& frame,
                      std::uint32_t offset) {
  const auto start = static_cast<std::uint32_t>((disk_offset - region_start_) / kSectorBytes);
  const auto sectors = static_cast<std::uint32_t>(length / kSectorBytes);
  const auto [entry, is_new] = numbers_.try_emplace(frame, static_cast<std::uint32_t>(page_.frames.size()));
  if (is_new) page_.frames.push_back(frame);
  if (!page_.runs.empty()) {
    PageRun& last = page_.runs.back();
    if (last.frame == entry->second && last.start + last.length == start &&
        last.offset + last.length * kSectorBytes == offset) {
      last.length += sectors;
      return;
    }
  }
  page_.runs.push_back({start, sectors, entry->second, offset});
}

std::uint64_t region_bytes_for(std::uint64_t image_bytes) {
  const std::uint64_t least = divide_up(image_bytes, kRegionsPerDirectory * kRootDirectoriesTarget);
  return std::max(1 * kMiB, std::bit_ceil(least));
}

std::string map_key(const MapDigest& map) {
  const std::string hex = map.hex();
  return fmt::format("maps/{}/{}.map", hex.substr(0, 2), hex);
}

Bytes encode(const MapRoot& root) {
  flatbuffers::FlatBufferBuilder builder;
  const auto directories = to_structs(root.directories);
  builder.Finish(fb::CreateMapRoot(builder, root.image_bytes, root.region_bytes, root.regions_per_directory,
                                   builder.CreateVectorOfStructs(directories)));
  return make_envelope(FileKind::kBlockMap, buffer_bytes(builder), 0);
}

Bytes encode(const MapDirectory& directory) {
  flatbuffers::FlatBufferBuilder builder;
  const auto pages = to_structs(directory.pages);
  builder.Finish(fb::CreateMapDirectory(builder, builder.CreateVectorOfStructs(pages)));
  return copy(builder);
}

Bytes encode(const MapPage& page) {
  flatbuffers::FlatBufferBuilder builder;
  std::vector<fb::Digest> frames;
  frames.reserve(page.frames.size());
  for (const FrameDigest& frame : page.frames) frames.push_back(to_flatbuffer(frame));
  std::vector<fb::MapRun> runs;
  runs.reserve(page.runs.size());
  for (const PageRun& run : page.runs) runs.emplace_back(run.start, run.length, run.frame, run.offset);
  builder.Finish(
      fb::CreateMapPage(builder, builder.CreateVectorOfStructs(frames), builder.CreateVectorOfStructs(runs)));
  return copy(builder);
}

MapRoot decode_map_root(ByteView bytes, std::string_view where) {
  const Envelope envelope = parse_envelope(bytes, FileKind::kBlockMap, where, limits::kMapRootBytesMax);
  if (bytes.size() != body_offset(envelope) || envelope.body_bytes != 0)
    throw damaged(where, "its length is wrong");
  const ByteView header = bytes.subspan(kEnvelopeBytes, envelope.header_bytes);
  check_header(envelope, header, where);
  const Bytes aligned(header.begin(), header.end());
  const auto* stored = verified_root<fb::MapRoot>(aligned, where);
  MapRoot root{stored->image_bytes(), stored->region_bytes(), stored->regions_per_directory(), {}};
  if (root.image_bytes > limits::kImageBytesMax || root.image_bytes % kSectorBytes != 0 ||
      !std::has_single_bit(root.region_bytes) || root.region_bytes < 64 * kKiB || root.region_bytes > kGiB ||
      root.regions_per_directory == 0 || root.regions_per_directory > 65536) {
    throw damaged(where, "its sizes are out of range");
  }
  const std::uint64_t regions = divide_up(root.image_bytes, root.region_bytes);
  root.directories =
      from_structs(stored->directories(), divide_up(regions, root.regions_per_directory), where);
  return root;
}

MapDirectory decode_map_directory(ByteView bytes, const MapRoot& root, std::string_view where) {
  const auto* stored = verified_root<fb::MapDirectory>(bytes, where);
  return {from_structs(stored->pages(), root.regions_per_directory, where)};
}

MapPage decode_map_page(ByteView bytes, const MapRoot& root, std::string_view where) {
  const auto* stored = verified_root<fb::MapPage>(bytes, where);
  MapPage page;
  for (const fb::Digest* frame : structs(stored->frames())) page.frames.emplace_back(from_flatbuffer(*frame));
  const std::uint64_t sectors = root.region_bytes / kSectorBytes;
  std::uint64_t next = 0;
  for (const fb::MapRun* run : structs(stored->runs())) {
    const std::uint64_t end = std::uint64_t{run->start()} + run->length();
    if (run->start() < next || run->length() == 0 || end > sectors || run->frame() >= page.frames.size() ||
        run->offset() % kSectorBytes != 0 ||
        run->offset() + run->length() * kSectorBytes > limits::kFrameRawBytesMax) {
      throw damaged(where, "a run is out of order or out of range");
    }
    next = end;
    page.runs.push_back({run->start(), run->length(), run->frame(), run->offset()});
  }
  return page;
}

MapRoot build_block_map(std::uint64_t image_bytes, std::span<const MapSegment> segments,
                        std::span<const FrameDigest> frames, const StoreMapNode& store_node) {
  MapRoot root{image_bytes, region_bytes_for(image_bytes), kRegionsPerDirectory, {}};
  const std::uint64_t directory_bytes = root.region_bytes * root.regions_per_directory;
  MapDirectory directory;
  std::size_t at = 0;
  std::uint64_t done = 0;  // bytes of segments[at] that earlier regions took
  while (at < segments.size()) {
    const std::uint64_t region_start = round_down(segments[at].disk_offset + done, root.region_bytes);
    const std::uint64_t region_end = region_start + root.region_bytes;
    PageBuilder builder(region_start);
    while (at < segments.size() && segments[at].disk_offset + done < region_end) {
      const MapSegment& segment = segments[at];
      const std::uint64_t start = segment.disk_offset + done;
      const std::uint64_t length = std::min(segment.length - done, region_end - start);
      builder.add(start, length, frames[segment.frame], static_cast<std::uint32_t>(segment.offset + done));
      done += length;
      if (done == segment.length) {
        ++at;
        done = 0;
      }
    }
    const std::uint64_t region = region_start / root.region_bytes;
    directory.pages.push_back({static_cast<std::uint32_t>(region % root.regions_per_directory),
                               store_node(encode(builder.page()))});
    const bool directory_ends =
        at == segments.size() ||
        (segments[at].disk_offset + done) / directory_bytes != region_start / directory_bytes;
    if (directory_ends) {
      const auto index = static_cast<std::uint32_t>(region_start / directory_bytes);
      root.directories.push_back({index, store_node(encode(directory))});
      directory.pages.clear();
    }
  }
  return root;
}

}  // namespace vmpack
