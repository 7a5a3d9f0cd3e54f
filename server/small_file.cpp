// SPDX-License-Identifier: Apache-2.0
#include "server/small_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack {
namespace {

constexpr std::uint64_t kFileBytesMax = 1 * kMiB;

}  // namespace

std::string read_small_file(const std::string& path) {
  const auto file = FileDescriptor::open(path, O_RDONLY | O_NOCTTY);
  std::string text(kFileBytesMax + 1, '\0');
  text.resize(read_at(file.get(), std::as_writable_bytes(std::span(text)), 0, path));
  if (text.size() > kFileBytesMax) {
    throw Error(ErrorCode::kLimit, fmt::format("{} has more than {}", path, format_bytes(kFileBytesMax)));
  }
  return text;
}

}  // namespace vmpack
