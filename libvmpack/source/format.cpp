// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/format.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <filesystem>
#include <optional>

#include <fmt/core.h>
#include <fmt/ranges.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/units.hpp"
#include "libvmpack/source/big_endian.hpp"
#include "libvmpack/source/raw_source.hpp"

namespace vmpack {
namespace {

constexpr std::array<std::string_view, 8> kFormats{"raw",  "qcow2", "qcow", "qed",
                                                   "vmdk", "vdi",   "vhdx", "vpc"};

// What the contents look like. `problem` says why that cannot be, or is empty.
struct Look {
  std::string_view format;
  std::string problem;
};

struct File {
  ByteView head;
  ByteView tail;
  std::uint64_t bytes;
};

template <typename T>
T little(ByteView bytes, std::size_t at) {
  return read_struct<T>(bytes.subspan(at));
}

bool has(ByteView bytes, std::size_t at, std::string_view magic) {
  return bytes.size() >= at + magic.size() && as_text(bytes.subspan(at, magic.size())) == magic;
}

bool inside(std::uint64_t offset, std::uint64_t length, std::uint64_t file_bytes) {
  return offset <= file_bytes && length <= file_bytes - offset;
}

// docs/interop/qcow2.txt of QEMU.
std::string qcow2_problem(const File& file) {
  constexpr std::size_t kHeaderBytes = 72;
  constexpr std::size_t kHeaderBytesV3 = 104;
  if (file.head.size() < kHeaderBytesV3) return "the file is shorter than a header";
  const auto version = big_endian<std::uint32_t>(file.head, 4);
  if (version == 1) return "it is of version 1, which is another format (--format qcow)";
  if (version < 2) return fmt::format("version {} does not exist", version);
  if (version > 3) {
    throw Error(ErrorCode::kUnsupported, fmt::format("qcow2 of version {} is not supported", version));
  }
  const auto cluster_bits = big_endian<std::uint32_t>(file.head, 20);
  if (cluster_bits < 9 || cluster_bits > 21) return fmt::format("clusters of 2^{} bytes", cluster_bits);
  const std::uint64_t cluster = 1ULL << cluster_bits;
  const std::uint64_t header_bytes = version == 2 ? kHeaderBytes : big_endian<std::uint32_t>(file.head, 100);
  if (header_bytes < kHeaderBytes || header_bytes > cluster)
    return fmt::format("a header of {} bytes", header_bytes);
  const auto size = big_endian<std::uint64_t>(file.head, 24);
  if (size > (1ULL << 56)) return "an impossible size";
  const auto l1_entries = big_endian<std::uint32_t>(file.head, 36);
  const auto l1_offset = big_endian<std::uint64_t>(file.head, 40);
  const auto refcounts_offset = big_endian<std::uint64_t>(file.head, 48);
  const auto refcounts_clusters = big_endian<std::uint32_t>(file.head, 56);
  if (l1_offset % cluster != 0 || refcounts_offset % cluster != 0) return "tables that are not aligned";
  if (!inside(l1_offset, l1_entries * 8ULL, file.bytes))
    return "its table of clusters lies behind the end of the file";
  if (!inside(refcounts_offset, refcounts_clusters == 0 ? 0 : 8, file.bytes)) {
    return "its reference counts lie behind the end of the file";
  }
  const auto backing_offset = big_endian<std::uint64_t>(file.head, 8);
  const auto backing_bytes = big_endian<std::uint32_t>(file.head, 16);
  if (backing_offset != 0 && (backing_bytes > 1023 || !inside(backing_offset, backing_bytes, cluster))) {
    return "an impossible name of a backing file";
  }
  return {};
}

// VMware's "Virtual Disk Format 5.0", hosted sparse extents.
std::string vmdk_problem(const File& file) {
  if (file.head.size() < 512) return "the file is shorter than a header";
  const auto version = little<std::uint32_t>(file.head, 4);
  if (version < 1 || version > 3) return fmt::format("version {} is not known", version);
  const auto capacity = little<std::uint64_t>(file.head, 12);
  const auto grain = little<std::uint64_t>(file.head, 20);
  if (capacity == 0 || capacity > (1ULL << 47)) return "an impossible capacity";
  if (!std::has_single_bit(grain)) return fmt::format("grains of {} sectors", grain);
  const auto descriptor_sector = little<std::uint64_t>(file.head, 28);
  if (descriptor_sector > file.bytes / kSectorBytes) return "its descriptor lies behind the end of the file";
  return {};
}

std::string vdi_problem(const File& file) {
  if (file.head.size() < 512) return "the file is shorter than a header";
  if (little<std::uint32_t>(file.head, 0x44) != 0x00010001) return "its version is not 1.1";
  const auto map_offset = little<std::uint32_t>(file.head, 0x154);
  const auto size = little<std::uint64_t>(file.head, 0x170);
  const auto block_bytes = little<std::uint32_t>(file.head, 0x178);
  const auto blocks = little<std::uint32_t>(file.head, 0x180);
  if (map_offset % kSectorBytes != 0 || !inside(map_offset, blocks * 4ULL, file.bytes)) {
    return "its block map lies behind the end of the file";
  }
  if (block_bytes == 0 || size > static_cast<std::uint64_t>(blocks) * block_bytes)
    return "too few blocks for its size";
  return {};
}

// Microsoft's "VHDX Format Specification".
std::string vhdx_problem(const File& file) {
  if (file.bytes < kMiB) return "the file is shorter than its headers";
  if (!has(file.head, 64 * kKiB, "head") && !has(file.head, 128 * kKiB, "head")) return "it has no header";
  if (!has(file.head, 192 * kKiB, "regi") && file.head.size() > 192 * kKiB) return "it has no region table";
  return {};
}

// Microsoft's "Virtual Hard Disk Image Format Specification". `footer` may be the copy at the start.
std::string vpc_problem(ByteView footer) {
  if (footer.size() < 512) return "the file is shorter than a footer";
  if (big_endian<std::uint32_t>(footer, 12) != 0x00010000) return "its version is not 1.0";
  const auto type = big_endian<std::uint32_t>(footer, 60);
  if (type < 2 || type > 4) return fmt::format("disks of type {} do not exist", type);
  return {};
}

// A descriptor is text that starts with comments and blank lines, then "version=".
bool is_vmdk_descriptor(ByteView head) {
  constexpr std::string_view kFirstLine = "# disk descriptorfile";
  std::string start(as_text(head.first(std::min(head.size(), kFirstLine.size()))));
  std::ranges::transform(start, start.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return start == kFirstLine;
}

// RFC 1952: deflate is the only method, and three of the flags are reserved.
bool is_gzip(ByteView head) {
  return has(head, 0, "\x1f\x8b\x08") && head.size() > 3 && (head[3] & std::byte{0xe0}) == std::byte{0};
}

bool is_xz(ByteView head) {
  return has(head, 0,
             {"\xfd"
              "7zXZ\0",
              6});
}

// A stream begins with its first block or, if it is empty, with its end: the digits of pi, or those of its
// root.
bool is_bzip2(ByteView head) {
  return has(head, 0, "BZh") &&
         (has(head, 4, "\x31\x41\x59\x26\x53\x59") || has(head, 4, "\x17\x72\x45\x38\x50\x90"));
}

// RFC 8878. Parallel compressors put a skippable frame first, whose magic is too common to speak for itself.
bool is_zstd(ByteView head, std::string_view named) {
  if (has(head, 0, "\x28\xb5\x2f\xfd")) return true;
  return named == "zstd" && has(head, 1, "\x2a\x4d\x18") && (head[0] & std::byte{0xf0}) == std::byte{0x50};
}

bool is_tar(ByteView head) { return has(head, 257, "ustar"); }

// DMTF's DSP0243: a tar archive whose first member is the descriptor.
bool is_ova(ByteView head, std::string_view named) {
  if (!is_tar(head)) return false;
  const std::string_view field = as_text(head.first(100));
  return named == "ova" || field.substr(0, field.find('\0')).ends_with(".ovf");
}

std::string_view look_at_wrapping(ByteView head, std::string_view named) {
  if (is_gzip(head)) return "gzip";
  if (is_xz(head)) return "xz";
  if (is_zstd(head, named)) return "zstd";
  if (is_bzip2(head)) return "bzip2";
  if (is_ova(head, named)) return "ova";
  return {};
}

std::optional<Look> look_at(const File& file, std::string_view named) {
  if (has(file.head, 0, {"QFI\xfb", 4})) return Look{"qcow2", qcow2_problem(file)};
  if (has(file.head, 0, {"QED\0", 4})) return Look{"qed", {}};
  if (has(file.head, 0, "KDMV")) return Look{"vmdk", vmdk_problem(file)};
  if (has(file.head, 0, "COWD") || is_vmdk_descriptor(file.head)) return Look{"vmdk", {}};
  if (has(file.head, 0x40, "\x7f\x10\xda\xbe")) return Look{"vdi", vdi_problem(file)};
  if (has(file.head, 0, "vhdxfile")) return Look{"vhdx", vhdx_problem(file)};
  if (has(file.head, 0, "conectix")) return Look{"vpc", vpc_problem(file.head)};
  // A fixed disk has its only header behind the data, where a guest can write: looked for only where the name
  // asks.
  if (named == "vpc" && has(file.tail, 0, "conectix")) return Look{"vpc", vpc_problem(file.tail)};
  if (const auto wrapping = look_at_wrapping(file.head, named); !wrapping.empty()) return Look{wrapping, {}};
  return std::nullopt;
}

// The format that a file's extension claims, or empty where it claims none. ".img" claims none: cloud images
// of that name are qcow2, hand-made ones raw.
std::string_view format_from_name(const std::string& path) {
  std::string extension = std::filesystem::path(path).extension();
  std::ranges::transform(extension, extension.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::array<std::pair<std::string_view, std::string_view>, 17> kExtensions{{{".qcow2", "qcow2"},
                                                                                       {".qcow", "qcow2"},
                                                                                       {".qed", "qed"},
                                                                                       {".vmdk", "vmdk"},
                                                                                       {".vdi", "vdi"},
                                                                                       {".vhdx", "vhdx"},
                                                                                       {".vhd", "vpc"},
                                                                                       {".vpc", "vpc"},
                                                                                       {".raw", "raw"},
                                                                                       {".dd", "raw"},
                                                                                       {".iso", "raw"},
                                                                                       {".bin", "raw"},
                                                                                       {".gz", "gzip"},
                                                                                       {".xz", "xz"},
                                                                                       {".zst", "zstd"},
                                                                                       {".bz2", "bzip2"},
                                                                                       {".ova", "ova"}}};
  const auto* known = std::ranges::find(kExtensions, extension, [](const auto& pair) { return pair.first; });
  return known == kExtensions.end() ? std::string_view() : known->second;
}

std::string force_hint(std::string_view format) {
  if (std::ranges::find(kFormats, format) == kFormats.end()) {
    return "give it a name that says what it is, or --format raw to take it byte for byte";
  }
  return fmt::format(
      "say which it is: --format {} to read it as such an image, --format raw to take it byte for byte",
      format);
}

DetectedFormat detect_in(const FileDescriptor& file, ByteRange part, const std::string& path,
                         const std::string& name) {
  Bytes head(std::min<std::uint64_t>(part.length, kFormatHeadBytes));
  Bytes tail(std::min<std::uint64_t>(part.length, kFormatTailBytes));
  head.resize(read_at(file.get(), head, part.offset, path));
  tail.resize(read_at(file.get(), tail, part.end() - tail.size(), path));
  return detect_format(name, head, tail, part.length);
}

}  // namespace

DetectedFormat detect_format(const std::string& path, ByteView head, ByteView tail,
                             std::uint64_t file_bytes) {
  const std::string_view named = format_from_name(path);
  const std::optional<Look> look = look_at({head, tail, file_bytes}, named);
  if (!look) {
    if (named.empty() || named == "raw") return {"raw", true};
    throw Error(ErrorCode::kInvalid,
                fmt::format("{} is named like {}, and does not begin like it", path, named),
                "it may be damaged, or have the wrong name; --format raw takes it byte for byte");
  }
  if (!named.empty() && named != look->format) {
    throw Error(ErrorCode::kInvalid,
                fmt::format("{} is named like {}, and begins like {}", path, named, look->format),
                force_hint(look->format));
  }
  if (!look->problem.empty()) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} begins like {}, and cannot be: {}", path, look->format, look->problem),
                named.empty() ? force_hint(look->format)
                              : "it may be cut short: fetch it again, or look at it with `qemu-img check`");
  }
  return {std::string(look->format), !named.empty()};
}

DetectedFormat detect_file_format(const std::string& path) {
  const auto file = FileDescriptor::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  return detect_in(file, {0, image_file_bytes(file.get(), path)}, path, path);
}

DetectedFormat detect_part_format(const std::string& path, ByteRange part, const std::string& name) {
  return detect_in(FileDescriptor::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY), part, path, name);
}

void check_format_name(std::string_view name) {
  if (std::ranges::find(kFormats, name) != kFormats.end()) return;
  throw Error(ErrorCode::kInvalid, fmt::format("unknown image format \"{}\"", name),
              fmt::format("known ones: {}", fmt::join(kFormats, ", ")));
}

std::string_view wrapping_of(const std::string& path) {
  const auto file = FileDescriptor::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  Bytes head(kSectorBytes);
  head.resize(read_at(file.get(), head, 0, path));
  return look_at_wrapping(head, format_from_name(path));
}

std::string_view archive_kind(ByteView head) {
  if (has(head, 0, "PK\x03\x04")) return "zip";
  if (has(head, 0, "7z\xbc\xaf\x27\x1c")) return "7-Zip";
  if (is_tar(head)) return "tar";
  return {};
}

}  // namespace vmpack
