// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/digest.hpp"

#include <openssl/evp.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/sha256_lanes.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

const EVP_MD* sha256_method() {
  // Fetched once: an implicit fetch at every hash costs more than hashing a small object.
  static const EVP_MD* const method = EVP_MD_fetch(nullptr, "SHA2-256", nullptr);
  VMPACK_ASSERT(method != nullptr);
  return method;
}

}  // namespace

std::string Digest::hex() const {
  std::string text(2 * kDigestBytes, '0');
  for (std::size_t i = 0; i < kDigestBytes; ++i) {
    text[2 * i] = kHexDigits[bytes[i] >> 4U];
    text[2 * i + 1] = kHexDigits[bytes[i] & 15U];
  }
  return text;
}

std::uint64_t Digest::prefix() const {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(value); ++i) value = value << 8U | bytes[i];
  return value;
}

std::optional<Digest> Digest::from_hex(std::string_view text) {
  if (text.size() != 2 * kDigestBytes) return std::nullopt;
  Digest digest;
  for (std::size_t i = 0; i < kDigestBytes; ++i) {
    const auto high = kHexDigits.find(text[2 * i]);
    const auto low = kHexDigits.find(text[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    digest.bytes[i] = static_cast<std::uint8_t>(high << 4U | low);
  }
  return digest;
}

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  VMPACK_ASSERT(state_->context != nullptr);
  VMPACK_ASSERT(EVP_DigestInit_ex2(state_->context, sha256_method(), nullptr) == 1);
}

Sha256::~Sha256() { EVP_MD_CTX_free(state_->context); }

void Sha256::update(ByteView bytes) {
  VMPACK_ASSERT(EVP_DigestUpdate(state_->context, bytes.data(), bytes.size()) == 1);
}

Digest Sha256::finish() {
  Digest digest;
  VMPACK_ASSERT(EVP_DigestFinal_ex(state_->context, digest.bytes.data(), nullptr) == 1);
  VMPACK_ASSERT(EVP_DigestInit_ex2(state_->context, nullptr, nullptr) == 1);
  return digest;
}

Digest sha256(ByteView bytes) {
  static thread_local Sha256 hasher;
  hasher.update(bytes);
  return hasher.finish();
}

void sha256_each(std::span<const ByteView> inputs, std::span<Digest> digests) {
  VMPACK_ASSERT(inputs.size() == digests.size());
  if (has_sha256_lanes()) {
    sha256_in_lanes(inputs, digests);
    return;
  }
  for (std::size_t i = 0; i < inputs.size(); ++i) digests[i] = sha256(inputs[i]);
}

}  // namespace vmpack
