// SPDX-License-Identifier: Apache-2.0
// The order of instructions for one block is that of Gulley et al., "Intel SHA Extensions" (2013); the
// algorithm is FIPS 180-4, section 6.2.
#include "libvmpack/base/sha256_lanes.hpp"

#include "libvmpack/base/error.hpp"

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

namespace vmpack {
namespace {

constexpr std::size_t kBlockBytes = 64;
constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kLanes = 2;

alignas(16) constexpr std::array<std::uint32_t, 64> kRoundConstants{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::array<std::uint32_t, 8> kInitialState{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

/// One message on its way through a lane: the words a to h of the state, in two halves as the instructions
/// want them, and what is left to hash.
class Lane {
 public:
  Lane() = default;

  void start(std::size_t input, ByteView message) {
    input_ = input;
    state_ = kInitialState;
    next_ = message.data();
    blocks_ = message.size() / kBlockBytes;
    in_tail_ = false;
    make_tail(message);
    enter_tail_at_end();
  }

  [[nodiscard]] std::size_t input() const { return input_; }
  [[nodiscard]] const std::byte* next() const { return next_; }
  /// That lie side by side from next().
  [[nodiscard]] std::size_t blocks() const { return blocks_; }
  [[nodiscard]] bool is_done() const { return in_tail_ && blocks_ == 0; }
  std::array<std::uint32_t, 8>& state() { return state_; }

  void advance(std::size_t blocks) {
    next_ += blocks * kBlockBytes;
    blocks_ -= blocks;
    enter_tail_at_end();
  }

  [[nodiscard]] Digest digest() const {
    Digest digest;
    for (std::size_t i = 0; i < state_.size(); ++i) store_big_endian(state_[i], digest.bytes.data() + 4 * i);
    return digest;
  }

 private:
  template <typename Number>
  static void store_big_endian(Number value, void* to) {
    value = std::byteswap(value);
    std::memcpy(to, &value, sizeof(value));
  }

  /// The message's last bytes, a one bit, zeros, and its length in bits.
  void make_tail(ByteView message) {
    const std::size_t rest = message.size() % kBlockBytes;
    tail_blocks_ = rest + 1 + kLengthBytes <= kBlockBytes ? 1 : 2;
    tail_.fill(std::byte{0});
    std::copy_n(message.end() - static_cast<std::ptrdiff_t>(rest), rest, tail_.begin());
    tail_[rest] = std::byte{0x80};
    store_big_endian(std::uint64_t{message.size()} * 8,
                     tail_.data() + tail_blocks_ * kBlockBytes - kLengthBytes);
  }

  void enter_tail_at_end() {
    if (blocks_ > 0 || in_tail_) return;
    next_ = tail_.data();
    blocks_ = tail_blocks_;
    in_tail_ = true;
  }

  std::size_t input_ = 0;
  std::array<std::uint32_t, 8> state_{};
  const std::byte* next_ = nullptr;
  std::size_t blocks_ = 0;
  std::size_t tail_blocks_ = 0;
  bool in_tail_ = false;
  std::array<std::byte, 2 * kBlockBytes> tail_{};
};

#define VMPACK_SHA_TARGET __attribute__((target("sha,sse4.1")))

VMPACK_SHA_TARGET inline __m128i load(const void* from) {
  return _mm_loadu_si128(static_cast<const __m128i*>(from));
}

/// One lane's state and the last 16 words of its message schedule, in registers.
struct Registers {
  __m128i abef;
  __m128i cdgh;
  __m128i words[4];  // NOLINT(modernize-avoid-c-arrays): of a vector type, which std::array warns about
};

VMPACK_SHA_TARGET inline void load_state(Lane& lane, Registers& registers) {
  const auto [a, b, c, d, e, f, g, h] = std::bit_cast<std::array<int, 8>>(lane.state());
  registers.abef = _mm_set_epi32(a, b, e, f);
  registers.cdgh = _mm_set_epi32(c, d, g, h);
}

inline void store_state(const Registers& registers, Lane& lane) {
  const auto [f, e, b, a] = std::bit_cast<std::array<std::uint32_t, 4>>(registers.abef);
  const auto [h, g, d, c] = std::bit_cast<std::array<std::uint32_t, 4>>(registers.cdgh);
  lane.state() = {a, b, c, d, e, f, g, h};
}

/// Four of a block's 64 rounds.
VMPACK_SHA_TARGET inline __attribute__((always_inline)) void four_rounds(Registers& r, const std::byte* block,
                                                                         std::size_t step) {
  __m128i& now = r.words[step % 4];
  if (step < 4) {
    const __m128i swap_bytes = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    now = _mm_shuffle_epi8(load(block + step * 16), swap_bytes);
  } else {
    const __m128i last = r.words[(step + 3) % 4];
    now = _mm_add_epi32(_mm_sha256msg1_epu32(now, r.words[(step + 1) % 4]),
                        _mm_alignr_epi8(last, r.words[(step + 2) % 4], 4));
    now = _mm_sha256msg2_epu32(now, last);
  }
  const __m128i sum = _mm_add_epi32(now, load(kRoundConstants.data() + step * 4));
  r.cdgh = _mm_sha256rnds2_epu32(r.cdgh, r.abef, sum);
  r.abef = _mm_sha256rnds2_epu32(r.abef, r.cdgh, _mm_shuffle_epi32(sum, 0x0e));
}

/// Hashes `blocks` blocks of each of kCount lanes, turn by turn.
template <std::size_t kCount>
VMPACK_SHA_TARGET void compress(const std::array<Lane*, kCount>& lanes, std::size_t blocks) {
  std::array<Registers, kCount> all;
  for (std::size_t l = 0; l < kCount; ++l) load_state(*lanes[l], all[l]);
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::array<Registers, kCount> before = all;
#pragma GCC unroll 16
    for (std::size_t step = 0; step < 16; ++step) {
#pragma GCC unroll 2
      for (std::size_t l = 0; l < kCount; ++l) {
        four_rounds(all[l], lanes[l]->next() + block * kBlockBytes, step);
      }
    }
    for (std::size_t l = 0; l < kCount; ++l) {
      all[l].abef = _mm_add_epi32(all[l].abef, before[l].abef);
      all[l].cdgh = _mm_add_epi32(all[l].cdgh, before[l].cdgh);
    }
  }
  for (std::size_t l = 0; l < kCount; ++l) {
    store_state(all[l], *lanes[l]);
    lanes[l]->advance(blocks);
  }
}

bool has_sha_instructions() {
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  return __builtin_cpu_supports("sse4.1") && __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
         (b & bit_SHA) != 0;
}

}  // namespace

bool has_sha256_lanes() {
  static const bool has = has_sha_instructions();
  return has;
}

void sha256_in_lanes(std::span<const ByteView> inputs, std::span<Digest> digests) {
  // Longest first: then the lanes end nearly together.
  std::vector<std::size_t> order(inputs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, std::ranges::greater{}, [&](std::size_t i) { return inputs[i].size(); });

  std::array<Lane, kLanes> memory;
  std::array<Lane*, kLanes> busy{};
  std::size_t count = 0;
  std::size_t started = 0;
  const auto start_next = [&](Lane& lane) {
    if (started == order.size()) return false;
    lane.start(order[started], inputs[order[started]]);
    ++started;
    return true;
  };
  for (Lane& lane : memory) {
    if (start_next(lane)) busy[count++] = &lane;
  }
  while (count > 0) {
    if (count == kLanes) {
      compress(busy, std::min(busy[0]->blocks(), busy[1]->blocks()));
    } else {
      compress<1>({busy[0]}, busy[0]->blocks());
    }
    for (std::size_t i = count; i-- > 0;) {
      if (!busy[i]->is_done()) continue;
      digests[busy[i]->input()] = busy[i]->digest();
      if (!start_next(*busy[i])) busy[i] = busy[--count];
    }
  }
}

}  // namespace vmpack

#else

namespace vmpack {

bool has_sha256_lanes() { return false; }

void sha256_in_lanes(std::span<const ByteView> /*inputs*/, std::span<Digest> /*digests*/) {
  VMPACK_ASSERT(!"has_sha256_lanes()");
}

}  // namespace vmpack

#endif
