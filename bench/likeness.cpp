// SPDX-License-Identifier: Apache-2.0
// How small a repository's objects could be, class by class: in frames as they are, in larger ones, with a
// trained dictionary for each class, and with similar objects moved together. Behind
// docs/decisions/0011-likeness.md. Usage: vmpack-likeness REPOSITORY
#include <fmt/core.h>
#include <tbb/parallel_for.h>
#include <zdict.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>
#include <map>
#include <memory>
#include <numeric>
#include <unordered_map>

#include "libvmpack/base/error.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/repository.hpp"
#include "libvmpack/repo/verify.hpp"

namespace {

using namespace vmpack;

constexpr int kLevel = 3;
constexpr std::uint64_t kFrameBytes = 256 * kKiB;
/// Objects are judged and moved within batches of this size: an ingest holds no more (DESIGN promise 5).
constexpr std::uint64_t kBatchBytes = 16 * kMiB;
constexpr std::size_t kDictionaryBytes = 112 * kKiB;

using Objects = std::vector<Bytes>;
using Order = std::vector<std::size_t>;

std::map<ObjectClass, Objects> read_objects(Store& store) {
  std::map<ObjectClass, Objects> objects;
  for (const PackDigest& pack : list_packs(store)) {
    const PackTables tables = read_pack_tables(store, pack);
    for (const PackFrame& frame : tables.frames) {
      if (!frame.bases.empty()) continue;
      const FramePtr decoded =
          read_frame(store, frame.digest, {pack, frame.offset, frame.stored_bytes}, BaseReader{});
      std::uint64_t at = 0;
      for (std::uint32_t i = 0; i < frame.object_count; ++i) {
        const std::uint64_t bytes = tables.objects[frame.first_object + i].bytes;
        const auto begin = decoded->bytes.begin() + static_cast<std::ptrdiff_t>(at);
        objects[frame.object_class].emplace_back(begin, begin + static_cast<std::ptrdiff_t>(bytes));
        at = next_object_offset(at, bytes);
      }
    }
  }
  return objects;
}

struct Result {
  std::uint64_t bytes = 0;
  double seconds = 0;  // of processors
};

/// Frames of objects in this order, compressed on all cores.
Result compress(const Objects& objects, const Order& order, std::uint64_t frame_bytes,
                const ZSTD_CDict* dictionary) {
  std::vector<Bytes> frames(1);
  for (const std::size_t i : order) {
    if (!frames.back().empty() && frames.back().size() + objects[i].size() > frame_bytes)
      frames.emplace_back();
    append(frames.back(), objects[i]);
    frames.back().resize(round_up(frames.back().size(), kObjectAlignment));
  }
  std::atomic<std::uint64_t> bytes = 0;
  const std::clock_t start = std::clock();
  tbb::parallel_for(std::size_t{0}, frames.size(), [&](std::size_t i) {
    static thread_local const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                                           &ZSTD_freeCCtx);
    Bytes out(ZSTD_compressBound(frames[i].size()));
    const std::size_t size = dictionary == nullptr
                                 ? ZSTD_compressCCtx(context.get(), out.data(), out.size(), frames[i].data(),
                                                     frames[i].size(), kLevel)
                                 : ZSTD_compress_usingCDict(context.get(), out.data(), out.size(),
                                                            frames[i].data(), frames[i].size(), dictionary);
    bytes += std::min(size, frames[i].size());
  });
  return {bytes, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC};
}

Result with_dictionary(const Objects& objects, const Order& order) {
  // Every n-th object, up to a hundred times the dictionary, as zstd advises.
  Bytes samples;
  std::vector<std::size_t> sizes;
  const std::uint64_t total =
      std::accumulate(objects.begin(), objects.end(), std::uint64_t{0},
                      [](std::uint64_t sum, const Bytes& object) { return sum + object.size(); });
  const std::size_t step = std::max<std::size_t>(1, total / (100 * kDictionaryBytes));
  for (std::size_t i = 0; i < objects.size(); i += step) {
    append(samples, objects[i]);
    sizes.push_back(objects[i].size());
  }
  Bytes dictionary(kDictionaryBytes);
  const std::size_t size = ZDICT_trainFromBuffer(dictionary.data(), dictionary.size(), samples.data(),
                                                 sizes.data(), static_cast<unsigned>(sizes.size()));
  if (ZDICT_isError(size) != 0) return {};
  const std::unique_ptr<ZSTD_CDict, decltype(&ZSTD_freeCDict)> prepared(
      ZSTD_createCDict(dictionary.data(), size, kLevel), &ZSTD_freeCDict);
  Result result = compress(objects, order, kFrameBytes, prepared.get());
  result.bytes += size;
  return result;
}

/// Four features of an object: maxima of four linear functions of a rolling hash, at one place in 64. Objects
/// that share one are probably alike (Odess: Zou et al., 2021).
using Sketch = std::array<std::uint64_t, 4>;
Sketch sketch_of(ByteView bytes) {
  static const std::array<std::uint64_t, 256> kGear = [] {
    std::array<std::uint64_t, 256> gear{};
    std::uint64_t state = 1;
    for (std::uint64_t& value : gear) {  // splitmix64
      std::uint64_t z = state += 0x9e3779b97f4a7c15U;
      z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
      z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
      value = z ^ (z >> 31U);
    }
    return gear;
  }();
  Sketch sketch{};
  std::uint64_t hash = 0;
  for (const std::byte byte : bytes) {
    hash = (hash << 1U) + kGear[std::to_integer<std::size_t>(byte)];
    if ((hash >> 58U) != 0) continue;
    for (std::size_t i = 0; i < sketch.size(); ++i) {
      sketch[i] = std::max(sketch[i], hash * (kGear[i] | 1U) + kGear[255 - i]);
    }
  }
  return sketch;
}

/// Each object behind the first of its batch that it shares a feature with.
Order likeness_order(const Objects& objects) {
  std::vector<Sketch> sketches(objects.size());
  tbb::parallel_for(std::size_t{0}, objects.size(),
                    [&](std::size_t i) { sketches[i] = sketch_of(objects[i]); });
  Order order;
  for (std::size_t begin = 0; begin < objects.size();) {
    std::size_t end = begin;
    std::unordered_map<std::uint64_t, std::size_t> leaders;
    std::map<std::size_t, Order> groups;
    for (std::uint64_t bytes = 0; end < objects.size() && bytes < kBatchBytes; ++end) {
      bytes += objects[end].size();
      std::size_t leader = end;
      for (const std::uint64_t feature : sketches[end]) {
        if (feature == 0) continue;
        if (const auto found = leaders.find(feature); found != leaders.end())
          leader = std::min(leader, found->second);
      }
      for (const std::uint64_t feature : sketches[end]) leaders.try_emplace(feature, leader);
      groups[leader].push_back(end);
    }
    for (const auto& [leader, members] : groups) order.insert(order.end(), members.begin(), members.end());
    begin = end;
  }
  return order;
}

void report(std::string_view name, const Objects& objects) {
  Order order(objects.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const std::uint64_t raw =
      std::accumulate(objects.begin(), objects.end(), std::uint64_t{0},
                      [](std::uint64_t sum, const Bytes& object) { return sum + object.size(); });
  const Result plain = compress(objects, order, kFrameBytes, nullptr);
  const auto cell = [&](const Result& result) {
    if (result.bytes == 0) return std::string("-");
    const double change = 100.0 * static_cast<double>(result.bytes) / static_cast<double>(plain.bytes) - 100;
    return fmt::format("{:+.1f} %", change);
  };
  const std::clock_t start = std::clock();
  const Order likeness = likeness_order(objects);
  const double sketch_seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  fmt::print("| {} | {} | {:.1f} | {:.1f} | {:.2f} | {} | {} | {} | {} | {:.2f} |\n", name, objects.size(),
             static_cast<double>(raw) / 1e6, static_cast<double>(plain.bytes) / 1e6, plain.seconds,
             cell(compress(objects, order, 2 * kFrameBytes, nullptr)), cell(with_dictionary(objects, order)),
             cell(compress(objects, likeness, kFrameBytes, nullptr)),
             cell(compress(objects, likeness, 2 * kFrameBytes, nullptr)), sketch_seconds);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: vmpack-likeness REPOSITORY\n");
    return 2;
  }
  try {
    const std::unique_ptr<Store> store = open_store(argv[1]);
    fmt::print(
        "| class | objects | MB | zstd MB | s | 512 KiB frames | dictionary | sketch order | both with 512 "
        "KiB | sketch s |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (const auto& [object_class, objects] : read_objects(*store)) report(to_string(object_class), objects);
  } catch (const Error& error) {
    fmt::print(stderr, "vmpack-likeness: {}\n", error.what());
    return 1;
  }
  return 0;
}
