// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/helper/tar.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kBlockBytes = 512;
constexpr std::size_t kMembersMax = 10'000;
constexpr std::uint64_t kExtensionBytesMax = 64 * kKiB;
using Block = std::array<std::byte, kBlockBytes>;

[[noreturn]] void throw_damaged(std::uint64_t offset, std::string_view why) {
  throw Error(ErrorCode::kDamaged, fmt::format("the header at byte {} {}", offset, why));
}

std::string_view text_field(const Block& header, std::size_t at, std::size_t length) {
  const std::string_view field = as_text(ByteView(header).subspan(at, length));
  return field.substr(0, field.find('\0'));
}

/// Octal digits among spaces and zeros or, with the highest bit set, a big-endian number (GNU, for large
/// ones).
std::optional<std::uint64_t> number_field(const Block& header, std::size_t at, std::size_t length) {
  const ByteView field = ByteView(header).subspan(at, length);
  std::uint64_t value = 0;
  if ((field[0] & std::byte{0x80}) != std::byte{0}) {
    for (std::size_t i = 1; i < length; ++i) {
      if (value >> 55U != 0) return std::nullopt;
      value = value << 8U | std::to_integer<std::uint64_t>(field[i]);
    }
    return value;
  }
  std::string_view digits = text_field(header, at, length);
  digits.remove_prefix(std::min(digits.find_first_not_of(' '), digits.size()));
  digits = digits.substr(0, digits.find(' '));
  if (digits.empty()) return 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 8);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

bool has_right_checksum(const Block& header) {
  constexpr std::size_t kAt = 148;
  constexpr std::size_t kBytes = 8;
  std::uint64_t sum = kBytes * ' ';  // it is counted as if it were spaces
  for (std::size_t i = 0; i < kBlockBytes; ++i) {
    if (i < kAt || i >= kAt + kBytes) sum += std::to_integer<std::uint64_t>(header[i]);
  }
  return number_field(header, kAt, kBytes) == sum;
}

/// What an extended header says of the member behind it.
struct Extension {
  std::optional<std::string> name;
  std::optional<std::uint64_t> bytes;
};

/// Records of the form "27 path=folder/disk.vmdk\n", whose number counts all of the record.
void read_pax(std::string_view records, Extension& extension) {
  while (!records.empty()) {
    std::size_t length = 0;
    const auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<std::size_t>(end - records.data());
    if (error != std::errc() || length > records.size() || length < digits + 2) return;
    const std::string_view record = records.substr(digits + 1, length - digits - 2);
    records.remove_prefix(length);
    const std::size_t equals = std::min(record.find('='), record.size());
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(std::min(equals + 1, record.size()));
    std::uint64_t number = 0;
    if (key == "path") {
      extension.name = value;
    } else if (key == "size" &&
               std::from_chars(value.data(), value.data() + value.size(), number).ec == std::errc()) {
      extension.bytes = number;
    }
  }
}

std::string name_of(const Block& header) {
  std::string name(text_field(header, 0, 100));
  const std::string_view prefix = text_field(header, 345, 155);
  const bool is_posix = as_text(ByteView(header).subspan(257, 6)) == std::string_view("ustar\0", 6);
  if (is_posix && !prefix.empty()) name = fmt::format("{}/{}", prefix, name);
  return name;
}

class TarReader {
 public:
  TarReader(int descriptor, std::uint64_t file_bytes) : descriptor_(descriptor), file_bytes_(file_bytes) {}

  std::vector<TarMember> read() {
    std::vector<TarMember> members;
    for (std::size_t headers = 0; at_ + kBlockBytes <= file_bytes_; ++headers) {
      if (headers == kMembersMax) throw Error(ErrorCode::kLimit, "it has too many members");
      Block header;
      read_at(descriptor_, header, at_, "the archive");
      if (is_zero(header)) break;
      if (!has_right_checksum(header)) throw_damaged(at_, "is damaged");
      use(header, members);
    }
    return members;
  }

 private:
  void use(const Block& header, std::vector<TarMember>& members) {
    const char type = static_cast<char>(header[156]);
    const auto size = number_field(header, 124, 12);
    if (!size) throw_damaged(at_, "has an impossible size");
    const bool is_extension = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    const std::uint64_t bytes = is_extension ? *size : extension_.bytes.value_or(*size);
    const std::uint64_t start = at_ + kBlockBytes;
    if (bytes > file_bytes_ - start) {
      throw Error(ErrorCode::kDamaged,
                  fmt::format("it is cut short: a member goes to byte {}, and it ends at {}",
                              start + std::min(bytes, UINT64_MAX - start), file_bytes_));
    }
    at_ = start + round_up(bytes, kBlockBytes);
    if (is_extension) {
      if (type == 'x' || type == 'L') extend(type, {start, bytes});
      return;
    }
    const bool is_file = type == '0' || type == '\0' || type == '7';
    std::string name = extension_.name.value_or(name_of(header));
    if (name.starts_with("./")) name.erase(0, 2);
    if (is_file) members.push_back({std::move(name), {start, bytes}});
    extension_ = {};
  }

  void extend(char type, ByteRange range) {
    if (range.length > kExtensionBytesMax) throw_damaged(range.offset, "is too long");
    Bytes bytes(range.length);
    bytes.resize(read_at(descriptor_, bytes, range.offset, "the archive"));
    const std::string_view text = as_text(bytes);
    if (type == 'x') {
      read_pax(text, extension_);
    } else {
      extension_.name = text.substr(0, text.find('\0'));
    }
  }

  int descriptor_;
  std::uint64_t file_bytes_;
  std::uint64_t at_ = 0;
  Extension extension_;
};

}  // namespace

std::vector<TarMember> read_tar(int descriptor, std::uint64_t file_bytes) {
  return TarReader(descriptor, file_bytes).read();
}

}  // namespace vmpack
