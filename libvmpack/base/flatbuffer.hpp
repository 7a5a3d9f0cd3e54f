// SPDX-License-Identifier: Apache-2.0
// Between FlatBuffers and our own types. For .cpp files only: no public header shows FlatBuffers.
#pragma once

#include <fmt/core.h>

#include <ranges>
#include <string_view>

#include "formats/common_generated.h"
#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/error.hpp"

namespace vmpack {

inline fb::Digest to_flatbuffer(const Digest& digest) {
  return fb::Digest(flatbuffers::span<const std::uint8_t, kDigestBytes>(digest.bytes));
}

inline Digest from_flatbuffer(const fb::Digest& stored) {
  Digest digest;
  std::memcpy(digest.bytes.data(), stored.bytes()->data(), kDigestBytes);
  return digest;
}

inline ByteView buffer_bytes(const flatbuffers::FlatBufferBuilder& builder) {
  return std::as_bytes(std::span(builder.GetBufferPointer(), builder.GetSize()));
}

/// The root table of `bytes`, after FlatBuffers' verifier. Throws kDamaged naming `where`.
template <typename Table>
const Table* verified_root(ByteView bytes, std::string_view where) {
  constexpr flatbuffers::uoffset_t kDepthMax = 16;
  constexpr flatbuffers::uoffset_t kTablesMax = 1U << 26U;
  flatbuffers::Verifier verifier(as_u8(bytes), bytes.size(), kDepthMax, kTablesMax);
  if (bytes.size() < 8 || !verifier.VerifyBuffer<Table>(nullptr)) {
    throw Error(ErrorCode::kDamaged, fmt::format("{} is damaged: its FlatBuffers structure is wrong", where));
  }
  return flatbuffers::GetRoot<Table>(bytes.data());
}

/// A vector of structs or tables that may be absent, as a range of pointers.
template <typename Element>
auto structs(const flatbuffers::Vector<Element>* vector) {
  const flatbuffers::uoffset_t size = vector == nullptr ? 0 : vector->size();
  return std::views::iota(flatbuffers::uoffset_t{0}, size) |
         std::views::transform([vector](flatbuffers::uoffset_t i) { return vector->Get(i); });
}

}  // namespace vmpack
