// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/temp_copy.hpp"

#include <algorithm>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/source/nbd_source.hpp"
#include "libvmpack/source/raw_source.hpp"
#include "libvmpack/source/unpacked_source.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kPieceBytes = 4 * kMiB;

TempImage copy(Source& image, const std::string& purpose, Progress& progress) {
  TempImage file(purpose);
  const std::vector<ByteRange> data = image.data_ranges(0, image.size());
  Bytes memory(kPieceBytes);
  progress.begin("copying", total_bytes(data));
  for (const ByteRange& range : data) {
    file.skip(range.offset - file.bytes());
    for (std::uint64_t at = range.offset; at < range.end();) {
      const ByteSpan piece = ByteSpan(memory).first(std::min<std::uint64_t>(memory.size(), range.end() - at));
      image.read(at, piece);
      file.append(piece);
      progress.advance(piece.size());
      at += piece.size();
    }
  }
  progress.end();
  file.skip(image.size() - file.bytes());
  file.finish();
  return file;
}

}  // namespace

std::unique_ptr<Source> copy_to_temp(Source& image, const std::string& purpose, Progress& progress) {
  TempImage file = copy(image, purpose, progress);
  const NamedTempImage named(file, "image.raw");
  ImageLayer layer;
  layer.path = named.path();
  layer.format = "raw";
  auto server = std::make_unique<QemuNbd>(ImageChain{layer});
  const NbdEndpoint endpoint{server->socket_path(), {}};
  auto served = open_nbd(endpoint, std::move(server), {"raw", image.facts().location, {}});
  auto direct = open_raw(named.path(), image.facts().location);
  return make_unpacked_source(std::move(file), std::move(served), std::move(direct));
}

}  // namespace vmpack
