// SPDX-License-Identifier: Apache-2.0
// From what the user wrote to an open image.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/source/chain.hpp"
#include "libvmpack/source/changes.hpp"
#include "libvmpack/source/decompress.hpp"
#include "libvmpack/source/format.hpp"
#include "libvmpack/source/nbd_source.hpp"
#include "libvmpack/source/ova.hpp"
#include "libvmpack/source/raw_source.hpp"
#include "libvmpack/source/source.hpp"
#include "libvmpack/source/unpacked_source.hpp"

namespace vmpack {
namespace {

namespace fs = std::filesystem;

bool is_nbd_uri(std::string_view image) {
  constexpr std::array<std::string_view, 4> kSchemes{"nbd://", "nbds://", "nbd+unix://", "nbds+unix://"};
  return std::ranges::any_of(kSchemes, [&](std::string_view scheme) { return image.starts_with(scheme); });
}

std::string canonical(const std::string& path) {
  std::error_code failed;
  std::string real = fs::canonical(path, failed);
  if (failed) throw system_error(failed.value(), "cannot open", path);
  return real;
}

void warn_of_archive(const std::string& path, const std::string& image, Progress& progress) {
  const auto file = FileDescriptor::open(path, O_RDONLY | O_NONBLOCK);
  Bytes head(kSectorBytes);
  head.resize(read_at(file.get(), head, 0, image));
  const std::string_view kind = archive_kind(head);
  if (kind.empty()) return;
  progress.warn(
      fmt::format("{} looks like a {} archive, and is taken as it is; unpack it first", image, kind));
}

SourceFacts facts_of(const std::string& image, const ImageChain& chain) {
  SourceFacts facts;
  facts.format = chain[0].format;
  facts.location = image;
  for (const ImageLayer& layer : chain) {
    for (std::string& file : layer.files()) {
      if (file != chain[0].path) facts.backing_chain.push_back(std::move(file));
    }
  }
  return facts;
}

std::unique_ptr<QemuNbd> serve(const std::string& image, const ImageChain& chain, Progress& progress) {
  auto server = std::make_unique<QemuNbd>(chain);
  if (server->sandbox_level() == SandboxLevel::kLimitsOnly) {
    progress.warn(fmt::format(
        "this system allows no namespaces: qemu-nbd reads {} with limits and a system-call filter, "
        "but can see other files",
        image));
  }
  return server;
}

std::unique_ptr<Source> open_chain(const std::string& image, const ImageChain& chain, Progress& progress) {
  auto server = serve(image, chain, progress);
  const NbdEndpoint endpoint{server->socket_path(), {}};
  return open_nbd(endpoint, std::move(server), facts_of(image, chain));
}

std::string root_for(const std::string& path, const std::string& backing_root) {
  return backing_root.empty() ? fs::path(path).parent_path().string() : canonical(backing_root);
}

/// A file on its way to be opened.
struct ImageFile {
  std::string path;   ///< canonical
  std::string shown;  ///< what the user calls it
  bool is_unpacked;   ///< out of another file: nothing lies beside it
};

DetectedFormat format_of(const ImageFile& file, const SourceOptions& options) {
  if (!options.format) return detect_file_format(file.path);
  check_format_name(*options.format);
  const std::string_view wrapping = *options.format == "raw" ? std::string_view() : wrapping_of(file.path);
  return {wrapping.empty() ? *options.format : std::string(wrapping), true};
}

/// The hint for an image inside of something, where "--format raw" would be about what it is in.
std::string hint_inside(const Error& error) {
  if (error.hint().find("--format raw") == std::string::npos) return error.hint();
  return "unpack it, and say of what you unpacked which it is: --format";
}

std::string format_of(const OvaDisk& disk, const ImageFile& ova) {
  const std::string shown = fmt::format("{}:{}", ova.shown, disk.name);
  try {
    std::string format = detect_part_format(ova.path, disk.part, shown).name;
    if (!is_compression(format) && format != "ova") return format;
    throw Error(ErrorCode::kUnsupported, fmt::format("the disk {} is a {} file", shown, format),
                "extract it with `tar -xf`, and give that file");
  } catch (const Error& error) {
    throw Error(error.code(), error.what(), hint_inside(error));
  }
}

std::unique_ptr<Source> open_ova(const ImageFile& file, const SourceOptions& options, Progress& progress) {
  const OvaDisk disk = find_ova_disk(file.path, file.shown, options.disk);
  ImageLayer top;
  top.path = file.path;
  top.format = options.format ? *options.format : format_of(disk, file);
  top.part = disk.part;
  return open_chain(file.shown, resolve_chain(std::move(top), OtherFiles::kUnreachable, {}), progress);
}

void check_disk_option(const SourceOptions& options, const DetectedFormat& format, const std::string& image) {
  if (!options.disk || format.name == "ova") return;
  throw Error(ErrorCode::kInvalid, fmt::format("{} is no OVA, and has one disk only", image),
              "leave out --disk");
}

/// Any image but what is to be decompressed.
std::unique_ptr<Source> open_served(const ImageFile& file, const DetectedFormat& format,
                                    const SourceOptions& options, Progress& progress) {
  if (format.name == "ova") return open_ova(file, options, progress);
  auto other_files = format.confirmed_by_name ? OtherFiles::kResolved : OtherFiles::kUnconfirmed;
  if (file.is_unpacked) other_files = OtherFiles::kUnreachable;
  const std::string root = root_for(file.path, options.backing_root);
  ImageLayer top;
  top.path = file.path;
  top.format = format.name;
  return open_chain(file.shown, resolve_chain(std::move(top), other_files, root), progress);
}

std::string replace_all(std::string text, const std::string& what, const std::string& with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += with.size()) {
    text.replace(at, what.size(), with);
  }
  return text;
}

std::unique_ptr<Source> open_compressed(const ImageFile& file, std::string_view compression,
                                        const SourceOptions& options, Progress& progress) {
  TempImage unpacked = decompress(file.path, compression, file.shown, progress);
  const NamedTempImage named(unpacked, decompressed_name(file.path));
  const ImageFile inner{named.path(), file.shown, true};
  try {
    const DetectedFormat format = format_of(inner, options);
    if (is_compression(format.name)) {
      throw Error(ErrorCode::kUnsupported, fmt::format("{} is compressed more than once", file.shown),
                  "decompress it yourself, and give the result");
    }
    check_disk_option(options, format, file.shown);
    std::unique_ptr<Source> served = open_served(inner, format, options, progress);
    std::unique_ptr<Source> direct;
    if (format.name == "raw") {
      warn_of_archive(inner.path, file.shown, progress);
      direct = open_raw(inner.path, file.shown);
    }
    return make_unpacked_source(std::move(unpacked), std::move(served), std::move(direct));
  } catch (const Error& error) {
    // The temporary file's name says nothing to the user.
    const std::string shown = fmt::format("{} in {}", decompressed_name(file.path), file.shown);
    throw Error(error.code(), replace_all(error.what(), named.path(), shown),
                replace_all(hint_inside(error), named.path(), shown));
  }
}

}  // namespace

std::unique_ptr<Source> open_source(const std::string& image, const SourceOptions& options,
                                    Progress& progress) {
  if (is_nbd_uri(image)) {
    if (options.format && *options.format != "raw") {
      throw Error(ErrorCode::kInvalid, fmt::format("{} is an NBD export, which is always raw", image),
                  "leave out --format");
    }
    check_disk_option(options, {"nbd", true}, image);
    return open_nbd({{}, image}, nullptr, {"nbd", image, {}});
  }
  const std::string path = canonical(image);
  // Names what is no image at all before anything looks inside.
  static_cast<void>(
      image_file_bytes(FileDescriptor::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY).get(), image));
  const ImageFile file{path, image, false};
  const DetectedFormat format = format_of(file, options);
  if (is_compression(format.name)) return open_compressed(file, format.name, options, progress);
  check_disk_option(options, format, image);
  if (format.name != "raw") return open_served(file, format, options, progress);
  if (!options.format) warn_of_archive(path, image, progress);
  return open_raw(path, image);
}

Changes open_overlay(const std::string& image, const std::string& backing_root, Progress& progress) {
  const std::string path = canonical(image);
  const DetectedFormat format = detect_file_format(path);
  if (format.name != "qcow2") {
    throw Error(ErrorCode::kInvalid, fmt::format("{} is a {} file, not a qcow2 overlay", image, format.name),
                "ingest a whole image with --parent");
  }
  ImageLayer top;
  top.path = path;
  top.format = format.name;
  // Whoever calls it an overlay says by that which format it has.
  const OverlayChain overlay = resolve_overlay(std::move(top), root_for(path, backing_root));
  auto server = serve(image, overlay.layers, progress);
  const NbdEndpoint endpoint{server->socket_path(), {}};
  Changes changes =
      open_nbd_changes(endpoint, std::move(server), facts_of(image, overlay.layers), "qemu:allocation-depth");
  changes.base = overlay.base;
  return changes;
}

Changes open_dirty_bitmap(const std::string& uri, const std::string& bitmap) {
  if (!is_nbd_uri(uri)) {
    throw Error(ErrorCode::kInvalid, fmt::format("{} is not an NBD URI", uri),
                "write nbd://HOST/EXPORT or nbd+unix:///EXPORT?socket=PATH");
  }
  return open_nbd_changes({{}, uri}, nullptr, {"nbd", uri, {}}, "qemu:dirty-bitmap:" + bitmap);
}

}  // namespace vmpack
