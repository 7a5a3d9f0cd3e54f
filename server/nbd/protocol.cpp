// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/protocol.hpp"

#include <fmt/format.h>

namespace vmpack::nbd {
namespace {

std::string_view cut(std::string_view text) { return text.substr(0, kNameBytesMax); }

/// Grows `to` by `bytes` and returns where they start.
std::byte* grow(Bytes& to, std::size_t bytes) {
  to.resize(to.size() + bytes);
  return to.data() + (to.size() - bytes);
}

WireWriter begin_option_reply(Bytes& to, Option option, OptionReply reply, std::size_t payload_bytes) {
  WireWriter writer(grow(to, kOptionReplyHeaderBytes + payload_bytes));
  writer.number(kOptionReplyMagic).number(std::to_underlying(option)).number(std::to_underlying(reply));
  writer.number(static_cast<std::uint32_t>(payload_bytes));
  return writer;
}

}  // namespace

std::optional<std::string_view> WireReader::string() {
  const auto bytes = number<std::uint32_t>();
  if (!bytes || *bytes > rest_.size()) return std::nullopt;
  const std::string_view text = as_text(rest_.first(*bytes));
  rest_ = rest_.subspan(*bytes);
  return text;
}

// ---- handshake ----

std::array<std::byte, kGreetingBytes> encode_greeting() {
  std::array<std::byte, kGreetingBytes> greeting;
  WireWriter(greeting.data())
      .number(kServerMagic)
      .number(kOptionMagic)
      .number(static_cast<std::uint16_t>(kFixedNewstyle | kNoZeroes));
  return greeting;
}

std::optional<OptionHeader> decode_option_header(ByteView bytes) {
  WireReader reader(bytes);
  const auto magic = reader.number<std::uint64_t>();
  const auto option = reader.number<std::uint32_t>();
  const auto length = reader.number<std::uint32_t>();
  if (magic != kOptionMagic || !option || !length) return std::nullopt;
  return OptionHeader{static_cast<Option>(*option), *length};
}

std::optional<InfoRequest> decode_info_request(ByteView data) {
  WireReader reader(data);
  const auto name = reader.string();
  const auto count = reader.number<std::uint16_t>();
  if (!name || name->size() > kNameBytesMax || !count ||
      reader.rest().size() != *count * sizeof(std::uint16_t)) {
    return std::nullopt;
  }
  InfoRequest request{.name = *name};
  while (const auto info = reader.number<std::uint16_t>()) {
    request.wants_name |= *info == std::to_underlying(Info::kName);
    request.wants_description |= *info == std::to_underlying(Info::kDescription);
    request.wants_block_size |= *info == std::to_underlying(Info::kBlockSize);
  }
  return request;
}

MetaContextDecoded decode_meta_context_request(ByteView data) {
  WireReader reader(data);
  const auto name = reader.string();
  const auto count = reader.number<std::uint32_t>();
  if (!name || name->size() > kNameBytesMax || !count) return {{}, MetaContextFault::kSyntax};
  if (*count > kQueriesMax) return {{}, MetaContextFault::kTooMany};
  MetaContextRequest request{.name = *name, .queries = {}};
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto query = reader.string();
    if (!query || query->size() > kNameBytesMax) return {{}, MetaContextFault::kSyntax};
    request.queries.push_back(*query);
  }
  if (!reader.rest().empty()) return {{}, MetaContextFault::kSyntax};
  return {std::move(request), {}};
}

bool selects_allocation(std::string_view query, bool listing) {
  return query == kAllocationContext || (listing && query == "base:");
}

void append_option_reply(Bytes& to, Option option, OptionReply reply, ByteView payload) {
  begin_option_reply(to, option, reply, 0);
  WireWriter(to.data() + to.size() - sizeof(std::uint32_t))
      .number(static_cast<std::uint32_t>(payload.size()));
  append(to, payload);
}

void append_option_error(Bytes& to, Option option, OptionReply reply, std::string_view message) {
  append_option_reply(to, option, reply, as_byte_view(cut(message)));
}

void append_server_reply(Bytes& to, Option option, std::string_view name, std::string_view description) {
  Bytes payload;
  WireWriter(grow(payload, sizeof(std::uint32_t))).number(static_cast<std::uint32_t>(cut(name).size()));
  append(payload, as_byte_view(cut(name)));
  append(payload, as_byte_view(cut(description)));
  append_option_reply(to, option, OptionReply::kServer, payload);
}

void append_info_export(Bytes& to, Option option, std::uint64_t export_bytes,
                        std::uint16_t transmission_flags) {
  begin_option_reply(to, option, OptionReply::kInfo, 12)
      .number(std::to_underlying(Info::kExport))
      .number(export_bytes)
      .number(transmission_flags);
}

void append_info_text(Bytes& to, Option option, Info info, std::string_view text) {
  Bytes payload;
  WireWriter(grow(payload, sizeof(std::uint16_t))).number(std::to_underlying(info));
  append(payload, as_byte_view(cut(text)));
  append_option_reply(to, option, OptionReply::kInfo, payload);
}

void append_info_block_size(Bytes& to, Option option) {
  begin_option_reply(to, option, OptionReply::kInfo, 14)
      .number(std::to_underlying(Info::kBlockSize))
      .number(kBlockBytesMin)
      .number(kBlockBytesPreferred)
      .number(static_cast<std::uint32_t>(kPayloadBytesMax));
}

void append_meta_context(Bytes& to, Option option, std::uint32_t id, std::string_view name) {
  Bytes payload;
  WireWriter(grow(payload, sizeof(id))).number(id);
  append(payload, as_byte_view(name));
  append_option_reply(to, option, OptionReply::kMetaContext, payload);
}

void append_export_name_answer(Bytes& to, std::uint64_t export_bytes, std::uint16_t transmission_flags,
                               bool zeroes) {
  WireWriter(grow(to, 10)).number(export_bytes).number(transmission_flags);
  if (zeroes) grow(to, kExportNameZeroes);
}

// ---- transmission ----

std::optional<Request> decode_request(ByteView bytes) {
  if (bytes.size() < kRequestBytes) return std::nullopt;
  WireReader reader(bytes.first(kRequestBytes));
  if (reader.number<std::uint32_t>() != kRequestMagic) return std::nullopt;
  Request request;
  request.flags = *reader.number<std::uint16_t>();
  request.command = static_cast<Command>(*reader.number<std::uint16_t>());
  request.cookie = *reader.number<std::uint64_t>();
  request.offset = *reader.number<std::uint64_t>();
  request.length = *reader.number<std::uint32_t>();
  return request;
}

std::array<std::byte, kRequestBytes> encode_request(const Request& request) {
  std::array<std::byte, kRequestBytes> bytes;
  WireWriter(bytes.data())
      .number(kRequestMagic)
      .number(request.flags)
      .number(std::to_underlying(request.command))
      .number(request.cookie)
      .number(request.offset)
      .number(request.length);
  return bytes;
}

void encode_simple_reply(std::byte* to, Status status, std::uint64_t cookie) {
  WireWriter(to).number(kSimpleReplyMagic).number(std::to_underlying(status)).number(cookie);
}

void encode_chunk_header(std::byte* to, Chunk type, std::uint16_t flags, std::uint64_t cookie,
                         std::uint32_t payload_bytes) {
  WireWriter(to)
      .number(kChunkMagic)
      .number(flags)
      .number(std::to_underlying(type))
      .number(cookie)
      .number(payload_bytes);
}

void encode_data_chunk_header(std::byte* to, std::uint16_t flags, std::uint64_t cookie, std::uint64_t offset,
                              std::uint32_t data_bytes) {
  encode_chunk_header(to, Chunk::kData, flags, cookie,
                      static_cast<std::uint32_t>(sizeof(offset)) + data_bytes);
  WireWriter(to + kChunkHeaderBytes).number(offset);
}

void encode_hole_chunk(std::byte* to, std::uint16_t flags, std::uint64_t cookie, std::uint64_t offset,
                       std::uint32_t hole_bytes) {
  encode_chunk_header(to, Chunk::kHole, flags, cookie, sizeof(offset) + sizeof(hole_bytes));
  WireWriter(to + kChunkHeaderBytes).number(offset).number(hole_bytes);
}

void mark_done(std::byte* chunk) {
  constexpr std::size_t kLowFlagsByte = 5;  // magic, then the flags' high byte
  chunk[kLowFlagsByte] |= static_cast<std::byte>(kChunkDone);
}

Bytes encode_error_chunk(std::uint16_t flags, std::uint64_t cookie, Status status, std::string_view message,
                         std::optional<std::uint64_t> offset) {
  message = cut(message);
  constexpr std::size_t kFixedBytes = sizeof(std::uint32_t) + sizeof(std::uint16_t);
  const std::size_t payload_bytes = kFixedBytes + message.size() + (offset ? sizeof(*offset) : 0);
  Bytes chunk(kChunkHeaderBytes + kFixedBytes);
  encode_chunk_header(chunk.data(), offset ? Chunk::kErrorOffset : Chunk::kError, flags, cookie,
                      static_cast<std::uint32_t>(payload_bytes));
  WireWriter(chunk.data() + kChunkHeaderBytes)
      .number(std::to_underlying(status))
      .number(static_cast<std::uint16_t>(message.size()));
  append(chunk, as_byte_view(message));
  if (offset) WireWriter(grow(chunk, sizeof(*offset))).number(*offset);
  return chunk;
}

Bytes encode_block_status(std::uint64_t cookie, const std::vector<Extent>& extents) {
  constexpr std::size_t kDescriptorBytes = 8;
  Bytes chunk(kStatusChunkHeaderBytes + extents.size() * kDescriptorBytes);
  encode_chunk_header(chunk.data(), Chunk::kBlockStatus, kChunkDone, cookie,
                      static_cast<std::uint32_t>(chunk.size() - kChunkHeaderBytes));
  WireWriter writer(chunk.data() + kChunkHeaderBytes);
  writer.number(kAllocationContextId);
  for (const Extent& extent : extents) writer.number(extent.length).number(extent.state);
  return chunk;
}

std::string to_string(Command command) {
  switch (command) {
    case Command::kRead:
      return "read";
    case Command::kWrite:
      return "write";
    case Command::kDisconnect:
      return "disconnect";
    case Command::kFlush:
      return "flush";
    case Command::kTrim:
      return "trim";
    case Command::kCache:
      return "cache";
    case Command::kWriteZeroes:
      return "write zeroes";
    case Command::kBlockStatus:
      return "block status";
  }
  return fmt::format("command {}", std::to_underlying(command));
}

}  // namespace vmpack::nbd
