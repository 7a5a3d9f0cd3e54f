// SPDX-License-Identifier: Apache-2.0
#include "tests/source/images.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "libvmpack/base/file_descriptor.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {

Bytes disk_bytes(std::size_t size, std::uint64_t seed) {
  constexpr std::size_t kPiece = 40000;  // no multiple of any cluster or sector
  Bytes bytes(size);
  Random random(seed);
  for (std::size_t at = 0; at < size; at += kPiece) {
    if (random.below(3) == 0) continue;
    const Bytes piece = random_bytes(random.next(), std::min(kPiece, size - at));
    std::copy(piece.begin(), piece.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
  }
  return bytes;
}

void write_sparse(const std::string& path, ByteView bytes) {
  constexpr std::size_t kBlock = 4096;
  const auto file = FileDescriptor::open(path, O_WRONLY | O_CREAT | O_TRUNC);
  REQUIRE(::ftruncate(file.get(), static_cast<off_t>(bytes.size())) == 0);
  for (std::size_t at = 0; at < bytes.size(); at += kBlock) {
    const ByteView block = bytes.subspan(at, std::min(kBlock, bytes.size() - at));
    if (!is_zero(block)) write_at(file.get(), block, at, path);
  }
}

void run_tool(const std::vector<std::string>& arguments, const std::string& folder) {
  CommandOptions options;
  options.folder = folder;
  const CommandResult result = run_command(arguments, options);
  INFO(result.err << result.out);
  REQUIRE(result.exit_code == 0);
}

void forget_backing_format(const std::string& qcow2) {
  std::string image(as_text(read_file(qcow2)));
  const std::size_t extension = image.find("\xe2\x79\x2a\xca");
  REQUIRE(extension != std::string::npos);
  image[extension] = '\x12';  // an extension that nobody knows is skipped
  write_file(qcow2, image);
}

std::unique_ptr<Source> open_image(const std::string& image, const std::string& format,
                                   const std::string& backing_root) {
  Warnings warnings;
  SourceOptions options;
  if (!format.empty()) options.format = format;
  options.backing_root = backing_root;
  return open_source(image, options, warnings);
}

Bytes read_image(Source& source) {
  REQUIRE(source.size() % kSectorBytes == 0);
  Bytes bytes(source.size(), std::byte{0xee});
  source.read(0, bytes);
  std::uint64_t end = 0;
  const auto check_hole = [&](std::uint64_t to) { REQUIRE(is_zero(ByteView(bytes).subspan(end, to - end))); };
  bool first = true;
  for (const ByteRange& range : source.data_ranges(0, source.size())) {
    REQUIRE(range.length > 0);
    REQUIRE((first ? range.offset >= end : range.offset > end));
    REQUIRE(range.offset % kSectorBytes == 0);
    REQUIRE(range.length % kSectorBytes == 0);
    check_hole(range.offset);
    end = range.end();
    first = false;
  }
  REQUIRE(end <= source.size());
  check_hole(source.size());
  return bytes;
}

Error open_error(const std::string& image, const std::string& format, const std::string& backing_root) {
  return error_of([&] { static_cast<void>(open_image(image, format, backing_root)); });
}

}  // namespace vmpack::test
