// SPDX-License-Identifier: Apache-2.0
// Vectors: NIST, Secure Hash Standard examples and the long-message test (FIPS 180-2, appendix B).
#include "libvmpack/base/digest.hpp"

#include <catch2/catch.hpp>

#include <numeric>
#include <thread>
#include <vector>

#include "libvmpack/base/checksum.hpp"
#include "tests/support/random_bytes.hpp"

using namespace vmpack;

TEST_CASE("SHA-256 gives what NIST's examples say") {
  CHECK(sha256({}).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256(as_byte_view("abc")).hex() ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256(as_byte_view("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")).hex() ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256(as_byte_view("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopq"
                            "klmnopqrlmnopqrsmnopqrstnopqrstu"))
            .hex() == "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  CHECK(sha256(Bytes(1'000'000, std::byte{'a'})).hex() ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("pieces of any size give the digest of the whole, and a finished hasher starts anew") {
  const Bytes bytes = test::random_bytes(1, 10'000);
  const Digest whole = sha256(bytes);
  Sha256 hasher;
  for (std::size_t piece : {1, 63, 64, 65, 9999, 10'000}) {
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      hasher.update(ByteView(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    }
    CHECK(hasher.finish() == whole);
  }
}

TEST_CASE("threads hash at the same time without disturbing each other") {
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&wrong, t] {
      const Bytes bytes = test::random_bytes(t, 1000 + t);
      Sha256 hasher;
      for (int i = 0; i < 200; ++i) {
        hasher.update(bytes);
        if (hasher.finish() != sha256(bytes)) ++wrong[t];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(4, 0));
}

TEST_CASE("many at once give what one by one gives, whatever their number and lengths") {
  const Bytes bytes = test::random_bytes(2, 70'000);
  std::vector<std::vector<std::size_t>> cases{{}, {0}, {0, 0, 0}, {1, 70'000}, {70'000, 64, 64, 0, 129, 3}};
  // Every length around the ends of blocks and of the padding.
  std::vector<std::size_t> all(300);
  std::iota(all.begin(), all.end(), std::size_t{0});
  cases.push_back(all);
  for (const std::vector<std::size_t>& lengths : cases) {
    std::vector<ByteView> inputs;
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      inputs.push_back(ByteView(bytes).subspan(lengths[i] == bytes.size() ? 0 : i, lengths[i]));
    }
    std::vector<Digest> digests(inputs.size());
    sha256_each(inputs, digests);
    for (std::size_t i = 0; i < inputs.size(); ++i) CHECK(digests[i] == sha256(inputs[i]));
  }
}

TEST_CASE("a digest goes to hexadecimal and back, and nothing else is one") {
  const Digest digest = sha256(as_byte_view("abc"));
  CHECK(Digest::from_hex(digest.hex()) == digest);
  std::string text = digest.hex();
  CHECK_FALSE(Digest::from_hex(text.substr(1)));
  CHECK_FALSE(Digest::from_hex(text + "0"));
  text[10] = 'A';
  CHECK_FALSE(Digest::from_hex(text));
  text[10] = 'g';
  CHECK_FALSE(Digest::from_hex(text));
  CHECK_FALSE(Digest::from_hex(""));
}

TEST_CASE("a prefix sorts like its digest") {
  std::vector<Digest> digests;
  for (std::uint64_t i = 0; i < 100; ++i) digests.push_back(sha256(struct_bytes(i)));
  std::ranges::sort(digests);
  for (std::size_t i = 1; i < digests.size(); ++i) CHECK(digests[i - 1].prefix() <= digests[i].prefix());
  CHECK(sha256(as_byte_view("abc")).prefix() == 0xba7816bf8f01cfeaU);
}

TEST_CASE("XXH3 gives its published values") {
  // xxHash's own sanity checks: XXH3_64bits of nothing, and of the eight-byte little-endian number 1.
  CHECK(xxh3({}) == 0x2d06800538d394c2U);
}
