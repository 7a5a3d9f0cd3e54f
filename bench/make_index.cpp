// SPDX-License-Identifier: Apache-2.0
// Adds synthetic index files to a repository, as if very many ingests had filled it: what bench/index.py
// measures ingests against. Its objects, frames and packs do not exist; nothing real has their digests.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string_view>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/repo/object_index_writer.hpp"
#include "libvmpack/store/store.hpp"

namespace {

using namespace vmpack;

constexpr std::uint64_t kObjectsOfFrame = 16;
constexpr std::uint64_t kFramesOfPack = 512;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
std::uint64_t mixed(std::uint64_t number) {
  std::uint64_t value = number * 0x9e3779b97f4a7c15U;
  value = (value ^ (value >> 30U)) * 0xbf58476d1ce4e5b9U;
  value = (value ^ (value >> 27U)) * 0x94d049bb133111ebU;
  return value ^ (value >> 31U);
}

Digest made_up(std::uint64_t prefix, std::uint64_t number) {
  Digest digest;
  for (std::size_t i = 0; i < 8; ++i) digest.bytes[i] = static_cast<std::uint8_t>(prefix >> (56 - 8 * i));
  for (std::size_t word = 1; word < 4; ++word) {
    const std::uint64_t value = mixed(number * 4 + word);
    std::memcpy(digest.bytes.data() + word * 8, &value, sizeof(value));
  }
  return digest;
}

std::uint64_t number_in(std::string_view text) {
  std::uint64_t value = 0;
  const auto end = text.data() + text.size();
  if (std::from_chars(text.data(), end, value).ptr != end || value == 0) {
    throw Error(ErrorCode::kInvalid, "a count is not a number");
  }
  return value;
}

/// `count` objects, numbered from `first` on over all files.
void write_file(Store& store, std::uint64_t first, std::uint64_t count) {
  IndexContents contents;
  for (std::uint64_t frame = 0; frame * kObjectsOfFrame < count; ++frame) {
    const std::uint64_t number = first + frame;
    if (frame % kFramesOfPack == 0) contents.packs.emplace_back(made_up(mixed(~number), ~number));
    contents.frames.push_back({FrameDigest(made_up(mixed(number), number)),
                               16 + frame % kFramesOfPack * 130'000, 130'000,
                               static_cast<std::uint32_t>(contents.packs.size() - 1)});
  }
  std::vector<std::pair<std::uint64_t, std::uint32_t>> objects(count);  // prefix, number in the file
  for (std::uint64_t i = 0; i < count; ++i)
    objects[i] = {mixed((first + i) * 2 + 1), static_cast<std::uint32_t>(i)};
  std::ranges::sort(objects);
  write_index_file(store, contents, count, [&](const auto& visit) {
    for (const auto& [prefix, i] : objects) {
      visit({ObjectDigest(made_up(prefix, first + i)), static_cast<std::uint32_t>(i / kObjectsOfFrame),
             static_cast<std::uint32_t>(i % kObjectsOfFrame * 16 * kKiB), 16 * kKiB});
    }
  });
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count != 4) throw Error(ErrorCode::kInvalid, "usage: vmpack-make-index REPOSITORY OBJECTS FILES");
    const std::uint64_t objects = number_in(arguments[2]);
    const std::uint64_t files = number_in(arguments[3]);
    const auto store = open_store(arguments[1]);
    for (std::uint64_t i = 0; i < files; ++i) {
      const std::uint64_t first = objects * i / files;
      write_file(*store, first, objects * (i + 1) / files - first);
    }
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
