// SPDX-License-Identifier: Apache-2.0
// The frames that an image is read from: vmpack-frames REPO REF offsets prints where to read 4 KiB for each
// of them, shuffled; vmpack-frames REPO REF decompress prints the seconds that bare zstd needs for all of
// them, on all processors, from memory.
#include <fmt/core.h>
#include <zstd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <string_view>
#include <thread>
#include <unordered_set>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/read/image_reader.hpp"
#include "libvmpack/repo/repository.hpp"

using namespace vmpack;

namespace {

constexpr std::uint64_t kStepBytes = 4096;

struct Found {
  std::uint64_t offset = 0;
  FrameDigest frame;
};

/// Each frame at the first aligned place that is read from it.
std::vector<Found> find_frames(const ImageReader& image) {
  std::vector<Found> found;
  std::unordered_set<FrameDigest, DigestHash> known;
  for (std::uint64_t at = 0; at + kStepBytes <= image.size(); at += kStepBytes) {
    for (const FrameDigest& frame : image.frames(at, kStepBytes)) {
      if (known.insert(frame).second) found.push_back({at, frame});
    }
  }
  return found;
}

void print_offsets(const ImageReader& image) {
  std::vector<Found> frames = find_frames(image);
  std::ranges::shuffle(frames, std::mt19937_64(1));
  for (const Found& found : frames) fmt::print("{}\n", found.offset);
}

/// The frames' zstd payloads, made anew from what they decode to where they are stored in another way.
std::vector<Bytes> payloads(const ImageReader& image) {
  std::vector<Bytes> all;
  for (const Found& found : find_frames(image)) {
    const FramePtr frame = image.frame(found.frame);
    Bytes packed(ZSTD_compressBound(frame->bytes.size()));
    packed.resize(ZSTD_compress(packed.data(), packed.size(), frame->bytes.data(), frame->bytes.size(), 2));
    all.push_back(std::move(packed));
  }
  return all;
}

double decompress_all(const std::vector<Bytes>& packed) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    ZSTD_DCtx* const context = ZSTD_createDCtx();
    Bytes into(limits::kFrameRawBytesMax);
    for (std::size_t i = next++; i < packed.size(); i = next++)
      ZSTD_decompressDCtx(context, into.data(), into.size(), packed[i].data(), packed[i].size());
    ZSTD_freeDCtx(context);
  };
  const auto began = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < std::thread::hardware_concurrency(); ++i) threads.emplace_back(work);
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc == 4 ? argv[3] : "";
  if (what != "offsets" && what != "decompress") {
    fmt::print(stderr, "usage: vmpack-frames REPO REF offsets|decompress\n");
    return 2;
  }
  try {
    const std::shared_ptr<const Repository> repository = Repository::open(open_store(argv[1]));
    const auto image = ImageReader::open(repository, repository->resolve(argv[2]),
                                         std::make_shared<FrameCache>(kFrameCacheBytesMin));
    if (what == "offsets") {
      print_offsets(*image);
    } else {
      fmt::print("{:.4f}\n", decompress_all(payloads(*image)));
    }
  } catch (const Error& error) {
    fmt::print(stderr, "vmpack-frames: {}\n", error.what());
    return 1;
  }
  return 0;
}
