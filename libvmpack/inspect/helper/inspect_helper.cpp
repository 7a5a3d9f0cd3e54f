// SPDX-License-Identifier: Apache-2.0
// vmpack-inspect-helper: reads a partition table or a file system for its parent, which gives it the image or
// serves its bytes, and takes the report (image_wire.hpp, layout_stream.hpp). Not for people: inspect()
// starts it.
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <new>
#include <span>
#include <string_view>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/inspect/helper/ext_volume.hpp"
#include "libvmpack/inspect/helper/fat_volume.hpp"
#include "libvmpack/inspect/helper/ntfs_volume.hpp"
#include "libvmpack/inspect/helper/partition_table.hpp"
#include "libvmpack/inspect/helper/probe_file.hpp"
#include "libvmpack/inspect/image_wire.hpp"
#include "libvmpack/source/helper/confine.hpp"

namespace {

using namespace vmpack;

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Error(ErrorCode::kInvalid, fmt::format("not a number: {}", text));
  }
  return value;
}

void write_result(ByteView bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(image_wire::kResultDescriptor, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) ::_exit(1);  // the parent is gone, or had enough
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void report_volume(ImageClient& image, ByteRange range, LayoutStreamWriter& out) {
  image.set_range(range);
  const Volume found = identify_volume(image);
  if (looks_like_ext(image) && (found.type.empty() || found.type.starts_with("ext"))) {
    report_ext_volume(image, found, out);
  } else if (found.type == "ntfs") {
    report_ntfs_volume(image, found, out);
  } else if (found.type == "vfat") {
    report_fat_volume(image, found, out);
  } else {
    out.file_system(found);
    out.end(false);
  }
}

constexpr const char* kUsage =
    "usage: vmpack-inspect-helper ADDRESS-SPACE image OFFSET LENGTH\n"
    "       vmpack-inspect-helper ADDRESS-SPACE volumes OFFSET LENGTH [OFFSET LENGTH]...\n"
    "Started by vmpack, with the image's bytes on descriptor 3 and its report on 4.\n";

int run(std::span<char*> arguments) {
  if (arguments.size() < 5 || arguments.size() % 2 == 0) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const std::uint64_t address_space_bytes = number(arguments[1]);
  const std::string_view what = arguments[2];
  std::vector<ByteRange> ranges;
  for (std::size_t i = 3; i < arguments.size(); i += 2) {
    ranges.push_back({number(arguments[i]), number(arguments[i + 1])});
  }
  confine(address_space_bytes);

  ImageClient image(image_wire::kImageDescriptor, ranges.front());
  LayoutStreamWriter out(write_result);
  if (what == "image") {
    const std::vector<Volume> partitions = report_partition_table(image, out);
    if (!partitions.empty()) ranges.clear();
    for (const Volume& partition : partitions) ranges.push_back(partition.range);
  }
  for (const ByteRange range : ranges) report_volume(image, range, out);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return run(std::span(arguments, static_cast<std::size_t>(count)));
  } catch (const std::bad_alloc&) {
    std::fputs("out of memory\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
  }
  return 1;
}
