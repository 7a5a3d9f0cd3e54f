// SPDX-License-Identifier: Apache-2.0
// The NBD protocol's numbers, and its messages to and from bytes. No I/O and no state: every function can be
// tested alone. Source: doc/proto.md of the NetworkBlockDevice project. All numbers on the wire are
// big-endian.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack::nbd {

/// What a client may ask for, before any memory is taken for it.
inline constexpr std::uint64_t kPayloadBytesMax =
    32 * kMiB;                                        ///< of a read, and of a refused write that is skipped
inline constexpr std::uint64_t kNameBytesMax = 4096;  ///< of any string, by the protocol
inline constexpr std::uint64_t kOptionBytesMax = 64 * kKiB;  ///< of an option's data that is looked at
inline constexpr std::uint64_t kOptionSkippedBytesMax =
    1 * kMiB;  ///< of larger ones, which are skipped and refused
/// In one handshake. Clients that list exports ask about each of them; what bounds the rest is the time.
inline constexpr std::uint32_t kOptionsMax = 65'536;
inline constexpr std::uint32_t kQueriesMax = 64;  ///< in one metadata option
inline constexpr std::size_t kExportsListedMax = 20'000;
inline constexpr std::uint64_t kListReplyBytesMax = 16 * kMiB;  ///< memory set aside for a list of them
inline constexpr std::size_t kExtentsMax = 32 * 1024;           ///< in one block status reply

/// What NBD_INFO_BLOCK_SIZE tells.
inline constexpr std::uint32_t kBlockBytesMin = 1;
inline constexpr std::uint32_t kBlockBytesPreferred = 4096;

inline constexpr std::uint64_t kServerMagic = 0x4e42444d41474943;  // "NBDMAGIC"
inline constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;  // "IHAVEOPT"
inline constexpr std::uint64_t kOptionReplyMagic = 0x0003e889045565a9;
inline constexpr std::uint32_t kRequestMagic = 0x25609513;
inline constexpr std::uint32_t kSimpleReplyMagic = 0x67446698;
inline constexpr std::uint32_t kChunkMagic = 0x668e33ef;

inline constexpr std::size_t kGreetingBytes = 18;
inline constexpr std::size_t kClientFlagsBytes = 4;
inline constexpr std::size_t kOptionHeaderBytes = 16;
inline constexpr std::size_t kOptionReplyHeaderBytes = 20;
inline constexpr std::size_t kRequestBytes = 28;
inline constexpr std::size_t kSimpleReplyBytes = 16;
inline constexpr std::size_t kChunkHeaderBytes = 20;
inline constexpr std::size_t kDataChunkHeaderBytes = kChunkHeaderBytes + 8;    // and the offset
inline constexpr std::size_t kHoleChunkBytes = kDataChunkHeaderBytes + 4;      // and the length
inline constexpr std::size_t kStatusChunkHeaderBytes = kChunkHeaderBytes + 4;  // and the context
inline constexpr std::size_t kExportNameZeroes = 124;

/// Flags of the greeting and of the client's answer: the same bits mean the same.
inline constexpr std::uint16_t kFixedNewstyle = 1 << 0;
inline constexpr std::uint16_t kNoZeroes = 1 << 1;

/// Transmission flags.
inline constexpr std::uint16_t kHasFlags = 1 << 0;
inline constexpr std::uint16_t kReadOnly = 1 << 1;
inline constexpr std::uint16_t kSendDontFragment = 1 << 7;
inline constexpr std::uint16_t kCanMultiConn = 1 << 8;
inline constexpr std::uint16_t kSendCache = 1 << 10;

enum class Option : std::uint32_t {
  kExportName = 1,
  kAbort = 2,
  kList = 3,
  kStartTls = 5,
  kInfo = 6,
  kGo = 7,
  kStructuredReply = 8,
  kListMetaContext = 9,
  kSetMetaContext = 10,
};

enum class OptionReply : std::uint32_t {
  kAck = 1,
  kServer = 2,
  kInfo = 3,
  kMetaContext = 4,
  kErrorUnsupported = 0x80000001,
  kErrorPolicy = 0x80000002,
  kErrorInvalid = 0x80000003,
  kErrorTlsRequired = 0x80000005,
  kErrorUnknown = 0x80000006,
  kErrorShutdown = 0x80000007,
  kErrorTooBig = 0x80000009,
};

enum class Info : std::uint16_t { kExport = 0, kName = 1, kDescription = 2, kBlockSize = 3 };

enum class Command : std::uint16_t {
  kRead = 0,
  kWrite = 1,
  kDisconnect = 2,
  kFlush = 3,
  kTrim = 4,
  kCache = 5,
  kWriteZeroes = 6,
  kBlockStatus = 7,
};

/// Command flags.
inline constexpr std::uint16_t kFlagDontFragment = 1 << 2;
inline constexpr std::uint16_t kFlagRequestOne = 1 << 3;

/// Error numbers on the wire; kNone is success.
enum class Status : std::uint32_t {
  kNone = 0,
  kNotPermitted = 1,
  kIo = 5,
  kInvalid = 22,
  kOverflow = 75,
  kShutdown = 108,
};

enum class Chunk : std::uint16_t {
  kNone = 0,
  kData = 1,
  kHole = 2,
  kBlockStatus = 5,
  kError = 0x8001,
  kErrorOffset = 0x8002
};
inline constexpr std::uint16_t kChunkDone = 1 << 0;

/// The one metadata context there is, and its bits.
inline constexpr std::string_view kAllocationContext = "base:allocation";
inline constexpr std::uint32_t kAllocationContextId = 1;
inline constexpr std::uint32_t kStateHole = 1 << 0;
inline constexpr std::uint32_t kStateZero = 1 << 1;

/// Takes numbers and strings off the front of bytes that came from a client. Nothing is copied.
class WireReader {
 public:
  explicit WireReader(ByteView bytes) : rest_(bytes) {}

  template <typename Number>
  std::optional<Number> number() {
    if (rest_.size() < sizeof(Number)) return std::nullopt;
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(Number); ++i)
      value = value << 8 | std::to_integer<std::uint8_t>(rest_[i]);
    rest_ = rest_.subspan(sizeof(Number));
    return static_cast<Number>(value);
  }
  /// A 32-bit length, and so many bytes.
  std::optional<std::string_view> string();
  [[nodiscard]] ByteView rest() const { return rest_; }

 private:
  ByteView rest_;
};

/// Writes numbers from the front of a buffer that the caller made large enough.
class WireWriter {
 public:
  explicit WireWriter(std::byte* to) : to_(to) {}

  template <typename Number>
  WireWriter& number(Number value) {
    for (std::size_t shift = sizeof(Number) * 8; shift > 0;) {
      shift -= 8;
      *to_++ = static_cast<std::byte>(static_cast<std::uint64_t>(value) >> shift);
    }
    return *this;
  }

 private:
  std::byte* to_;
};

// ---- handshake ----

[[nodiscard]] std::array<std::byte, kGreetingBytes> encode_greeting();

struct OptionHeader {
  Option option{};  // any value that a client sent
  std::uint32_t bytes = 0;
};
/// nullopt without the right magic. `bytes` holds kOptionHeaderBytes.
[[nodiscard]] std::optional<OptionHeader> decode_option_header(ByteView bytes);

/// The data of kInfo and kGo.
struct InfoRequest {
  std::string_view name;  // points into the option's data
  bool wants_name = false;
  bool wants_description = false;
  bool wants_block_size = false;
};
[[nodiscard]] std::optional<InfoRequest> decode_info_request(ByteView data);

/// The data of the two metadata options.
struct MetaContextRequest {
  std::string_view name;
  std::vector<std::string_view> queries;
};
enum class MetaContextFault { kSyntax, kTooMany };
struct MetaContextDecoded {
  std::optional<MetaContextRequest> request;
  MetaContextFault fault{};  // when there is none
};
[[nodiscard]] MetaContextDecoded decode_meta_context_request(ByteView data);

/// Does this query name base:allocation? `listing`: kListMetaContext, where "base:" is a wildcard.
[[nodiscard]] bool selects_allocation(std::string_view query, bool listing);

/// Append one reply to `to`. A message or name longer than kNameBytesMax is cut.
void append_option_reply(Bytes& to, Option option, OptionReply reply, ByteView payload = {});
void append_option_error(Bytes& to, Option option, OptionReply reply, std::string_view message);
void append_server_reply(Bytes& to, Option option, std::string_view name, std::string_view description);
void append_info_export(Bytes& to, Option option, std::uint64_t export_bytes,
                        std::uint16_t transmission_flags);
void append_info_text(Bytes& to, Option option, Info info, std::string_view text);
void append_info_block_size(Bytes& to, Option option);
void append_meta_context(Bytes& to, Option option, std::uint32_t id, std::string_view name);
/// The whole answer to kExportName.
void append_export_name_answer(Bytes& to, std::uint64_t export_bytes, std::uint16_t transmission_flags,
                               bool zeroes);

// ---- transmission ----

struct Request {
  std::uint16_t flags = 0;
  Command command{};  // any value that a client sent
  std::uint64_t cookie = 0;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
};
/// nullopt without the right magic. `bytes` holds kRequestBytes.
[[nodiscard]] std::optional<Request> decode_request(ByteView bytes);
[[nodiscard]] std::array<std::byte, kRequestBytes> encode_request(const Request& request);  // for tests

/// Each fills the front of `to`, which must hold it.
void encode_simple_reply(std::byte* to, Status status, std::uint64_t cookie);
void encode_chunk_header(std::byte* to, Chunk type, std::uint16_t flags, std::uint64_t cookie,
                         std::uint32_t payload_bytes);
void encode_data_chunk_header(std::byte* to, std::uint16_t flags, std::uint64_t cookie, std::uint64_t offset,
                              std::uint32_t data_bytes);
void encode_hole_chunk(std::byte* to, std::uint16_t flags, std::uint64_t cookie, std::uint64_t offset,
                       std::uint32_t hole_bytes);
/// Sets kChunkDone in a chunk that is already encoded.
void mark_done(std::byte* chunk);

/// An error chunk; with `offset` it says which part of a read failed.
[[nodiscard]] Bytes encode_error_chunk(std::uint16_t flags, std::uint64_t cookie, Status status,
                                       std::string_view message,
                                       std::optional<std::uint64_t> offset = std::nullopt);

struct Extent {
  std::uint32_t length = 0;
  std::uint32_t state = 0;
  friend bool operator==(const Extent&, const Extent&) = default;
};
[[nodiscard]] Bytes encode_block_status(std::uint64_t cookie, const std::vector<Extent>& extents);

/// "read", "block status", ... or "command 9", for logs.
[[nodiscard]] std::string to_string(Command command);

}  // namespace vmpack::nbd
