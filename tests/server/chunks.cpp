// SPDX-License-Identifier: Apache-2.0
#include "tests/server/chunks.hpp"

#include <algorithm>

namespace vmpack::test {
namespace {

void expect(bool holds, const char* what) {
  if (!holds) throw std::logic_error(std::string("the reply breaks the protocol: ") + what);
}

template <typename Number>
Number take(nbd::WireReader& reader) {
  const auto number = reader.number<Number>();
  expect(number.has_value(), "a chunk is too short");
  return *number;
}

}  // namespace

void Chunks::add(std::uint16_t flags, nbd::Chunk type, ByteView payload) {
  expect(!done, "a chunk behind the last");
  expect((flags & ~nbd::kChunkDone) == 0, "an unknown flag");
  done = flags == nbd::kChunkDone;
  nbd::WireReader reader(payload);
  switch (type) {
    case nbd::Chunk::kNone:
      expect(done && payload.empty(), "an empty chunk that is not the last");
      return;
    case nbd::Chunk::kData: {
      const auto offset = take<std::uint64_t>(reader);
      const ByteView data = reader.rest();
      expect(!data.empty(), "no data");
      pieces.push_back({offset, data.size(), false, Bytes(data.begin(), data.end())});
      return;
    }
    case nbd::Chunk::kHole: {
      const auto offset = take<std::uint64_t>(reader);
      const auto length = take<std::uint32_t>(reader);
      expect(length > 0 && reader.rest().empty(), "a bad hole");
      pieces.push_back({offset, length, true, Bytes(length)});
      return;
    }
    case nbd::Chunk::kBlockStatus: {
      expect(take<std::uint32_t>(reader) == nbd::kAllocationContextId && extents.empty(), "a bad context");
      while (!reader.rest().empty()) {
        const auto length = take<std::uint32_t>(reader);
        extents.push_back({length, take<std::uint32_t>(reader)});
        expect(length > 0, "an empty extent");
      }
      expect(!extents.empty(), "no extents");
      return;
    }
    case nbd::Chunk::kError:
    case nbd::Chunk::kErrorOffset: {
      error = static_cast<nbd::Status>(take<std::uint32_t>(reader));
      expect(error != nbd::Status::kNone, "an error that is none");
      const auto message_bytes = take<std::uint16_t>(reader);
      expect(message_bytes <= reader.rest().size(), "a message that is too long");
      nbd::WireReader behind(reader.rest().subspan(message_bytes));
      if (type == nbd::Chunk::kErrorOffset) error_offset = take<std::uint64_t>(behind);
      expect(behind.rest().empty(), "something behind an error");
      return;
    }
  }
  expect(false, "an unknown chunk");
}

Bytes Chunks::content(std::uint64_t offset, std::uint64_t length) const {
  expect(done, "it does not end");
  auto sorted = pieces;
  std::ranges::sort(sorted, {}, &Piece::offset);
  Bytes content;
  for (const Piece& piece : sorted) {
    expect(piece.offset == offset + content.size(), "a gap or an overlap");
    append(content, piece.data);
  }
  expect(content.size() == length, "a wrong length");
  return content;
}

std::size_t Chunks::holes() const {
  return static_cast<std::size_t>(std::ranges::count(pieces, true, &Piece::hole));
}

Chunks parse_chunks(ByteView bytes, std::uint64_t cookie) {
  Chunks chunks;
  while (!bytes.empty()) {
    nbd::WireReader reader(bytes);
    expect(take<std::uint32_t>(reader) == nbd::kChunkMagic, "a bad magic");
    const auto flags = take<std::uint16_t>(reader);
    const auto type = static_cast<nbd::Chunk>(take<std::uint16_t>(reader));
    expect(take<std::uint64_t>(reader) == cookie, "a foreign cookie");
    const auto payload_bytes = take<std::uint32_t>(reader);
    expect(payload_bytes <= reader.rest().size(), "a chunk is cut short");
    chunks.add(flags, type, reader.rest().first(payload_bytes));
    bytes = reader.rest().subspan(payload_bytes);
  }
  expect(chunks.done, "it does not end");
  return chunks;
}

}  // namespace vmpack::test
