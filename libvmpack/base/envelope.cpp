// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/envelope.hpp"

#include <fmt/core.h>

#include <bit>
#include <cstddef>

#include "libvmpack/base/checksum.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

constexpr std::array<char, 8> kMagic = {'v', 'm', 'p', 'a', 'c', 'k', '\r', '\n'};
constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t kKnownFeatures = 0;

std::string_view kind_name(FileKind kind) {
  switch (kind) {
    case FileKind::kObjectIndex:
      return "an object index";
    case FileKind::kBlockMap:
      return "a block map";
    case FileKind::kFileTable:
      return "a file table";
    case FileKind::kPlaces:
      return "a places file";
  }
  return "a file";
}

std::uint64_t checksum_of(const Envelope& envelope) {
  return xxh3(struct_bytes(envelope).first(offsetof(Envelope, checksum)));
}

}  // namespace

void throw_unknown_version(std::string_view where, std::uint64_t version) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("{} has format version {}, and this vmpack knows versions up to {}", where, version,
                          kFormatVersion),
              "use a newer vmpack");
}

void throw_unknown_feature(std::string_view where, std::string_view feature) {
  throw Error(ErrorCode::kUnsupported,
              fmt::format("{} requires the feature '{}', which this vmpack does not know", where, feature),
              "use a newer vmpack");
}

void check_required_features(std::string_view where, std::uint64_t required, std::uint64_t known) {
  if (const std::uint64_t unknown = required & ~known; unknown != 0) {
    throw_unknown_feature(where, fmt::format("bit-{}", std::countr_zero(unknown)));
  }
}

Bytes make_envelope(FileKind kind, ByteView header, std::uint64_t body_bytes) {
  Envelope envelope{};
  envelope.magic = kMagic;
  envelope.kind = static_cast<std::uint32_t>(kind);
  envelope.version = kFormatVersion;
  envelope.header_bytes = header.size();
  envelope.header_checksum = xxh3(header);
  envelope.body_bytes = body_bytes;
  envelope.checksum = checksum_of(envelope);
  Bytes bytes;
  bytes.reserve(body_offset(envelope));
  append(bytes, struct_bytes(envelope));
  append(bytes, header);
  bytes.resize(body_offset(envelope));
  return bytes;
}

Envelope parse_envelope(ByteView bytes, FileKind kind, std::string_view where,
                        std::uint64_t header_bytes_max) {
  if (bytes.size() < kEnvelopeBytes) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is damaged: it ends after {} bytes", where, bytes.size()));
  }
  const auto envelope = read_struct<Envelope>(bytes);
  if (envelope.magic != kMagic || envelope.kind != static_cast<std::uint32_t>(kind)) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is damaged: it does not begin like {}", where, kind_name(kind)));
  }
  if (envelope.checksum != checksum_of(envelope)) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is damaged: the checksum of its envelope does not match", where));
  }
  if (envelope.version != kFormatVersion) throw_unknown_version(where, envelope.version);
  check_required_features(where, envelope.required_features, kKnownFeatures);
  if (envelope.header_bytes > header_bytes_max) {
    throw Error(ErrorCode::kLimit, fmt::format("{} has a header of {} bytes, over the limit of {}", where,
                                               envelope.header_bytes, header_bytes_max));
  }
  return envelope;
}

void check_header(const Envelope& envelope, ByteView header, std::string_view where) {
  if (header.size() != envelope.header_bytes || xxh3(header) != envelope.header_checksum) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is damaged: the checksum of its header does not match", where));
  }
}

std::uint64_t body_offset(const Envelope& envelope) {
  return round_up(kEnvelopeBytes + envelope.header_bytes, kAlignment);
}

}  // namespace vmpack
