// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/chain.hpp"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/source/format.hpp"
#include "libvmpack/source/vmdk_descriptor.hpp"

namespace vmpack {
namespace {

namespace fs = std::filesystem;

bool lies_below(const fs::path& path, const fs::path& folder) {
  const auto [in_folder, in_path] = std::ranges::mismatch(folder, path);
  return in_folder == folder.end() && in_path != path.end();
}

// QEMU reads "host:name", "json:{...}" and the like as something to open over a protocol.
bool has_protocol(std::string_view name) {
  const std::size_t colon = name.find(':');
  return colon != std::string_view::npos && name.find('/') > colon;
}

// The canonical path of a file that `layer` names as its `role` ("backing file").
std::string resolve_named(const ImageLayer& layer, std::string_view role, std::string name,
                          const fs::path& root) {
  const std::string shown = printable(name);
  if (name.starts_with("file:")) name.erase(0, std::string_view("file:").size());
  if (has_protocol(name)) {
    throw Error(
        ErrorCode::kRefused, fmt::format("{} names the {} {}, which is not a file", layer.path, role, shown),
        "copy what it names to a file beside the image, and `qemu-img rebase -u` the image onto that");
  }
  const fs::path named = (fs::path(layer.path).parent_path() / name).lexically_normal();
  const auto refuse_outside = [&](const fs::path& path) {
    if (lies_below(path, root)) return;
    throw Error(
        ErrorCode::kRefused,
        fmt::format("{} names the {} {}, outside {}", layer.path, role, printable(path.string()),
                    root.string()),
        fmt::format("an image from elsewhere must not read other files; if it is yours: --backing-root {}",
                    printable(path.parent_path().string())));
  };
  // First by name alone: a refused image does not even learn whether the file exists.
  refuse_outside(named);
  std::error_code failed;
  const fs::path real = fs::canonical(named, failed);
  if (failed == std::errc::no_such_file_or_directory || failed == std::errc::not_a_directory) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{} names the {} {}, which is not there ({})", layer.path, role, shown,
                            printable(named.string())),
                "put it back, or `qemu-img rebase -u` the image onto where it is now");
  }
  if (failed) throw system_error(failed.value(), "cannot open", printable(named.string()));
  refuse_outside(real);
  struct stat facts{};
  if (::stat(real.c_str(), &facts) < 0) throw system_error(errno, "cannot open", printable(real.string()));
  if (!S_ISREG(facts.st_mode) && !S_ISBLK(facts.st_mode)) {
    throw Error(ErrorCode::kRefused,
                fmt::format("{} names the {} {}, which is neither a file nor a block device", layer.path,
                            role, printable(real.string())));
  }
  return real;
}

// Throws unless the layer may name another file, or names none.
void check_other_file(const ImageLayer& layer, OtherFiles other_files, std::string_view what,
                      const std::string& name) {
  if (name.empty() || other_files == OtherFiles::kResolved) return;
  if (other_files == OtherFiles::kUnreachable) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format("{} names the {} {}, which did not come with it", layer.path, what, printable(name)),
        "unpack it beside that file, and give what you unpacked");
  }
  // A header that only the contents speak for must not make us open anything else.
  throw Error(
      ErrorCode::kInvalid,
      fmt::format(
          "{} looks like {} that names the {} {}, and its own name does not say so: a guest can write "
          "that to its raw disk",
          layer.path, layer.format, what, printable(name)),
      fmt::format("say which it is: --format {}, or --format raw to take it byte for byte", layer.format));
}

void add_vmdk_extents(ImageLayer& layer, OtherFiles other_files, const fs::path& root) {
  const auto file = FileDescriptor::open(layer.path, O_RDONLY | O_NONBLOCK);
  Bytes bytes(kVmdkDescriptorBytesMax);
  bytes.resize(read_at(file.get(), bytes, layer.part.offset, layer.path));
  const std::string_view start = as_text(bytes);
  if (start.starts_with("KDMV") || start.starts_with("COWD")) return;  // all in one file
  if (bytes.size() == kVmdkDescriptorBytesMax) {
    throw Error(ErrorCode::kLimit, fmt::format("{} is larger than a vmdk descriptor may be", layer.path));
  }
  for (const VmdkExtent& extent : parse_vmdk_extents(start, layer.path)) {
    check_other_file(layer, other_files, "extent", extent.file);
    const std::string path = resolve_named(layer, "extent", extent.file, root);
    // QEMU opens an extent by the name in the descriptor, and in the sandbox only real paths exist.
    if (path != (fs::path(layer.path).parent_path() / extent.file).lexically_normal()) {
      throw Error(
          ErrorCode::kRefused,
          fmt::format("{} names the extent {} through a symbolic link", layer.path, printable(extent.file)),
          fmt::format("put the extent itself there, or give {} from a folder without links", layer.path));
    }
    if (fs::is_regular_file(path) && fs::file_size(path) < extent.bytes_at_least) {
      throw Error(ErrorCode::kDamaged,
                  fmt::format("{} is cut short: {} needs {} bytes of it, and it has {}", path, layer.path,
                              extent.bytes_at_least, fs::file_size(path)),
                  "fetch or copy it again");
    }
    if (std::ranges::find(layer.extents, path) == layer.extents.end()) layer.extents.push_back(path);
  }
}

/// Reads what the layer says of itself and finds the files that belong to it.
LayerFacts complete_layer(ImageLayer& layer, OtherFiles other_files, const fs::path& root) {
  if (layer.format == "vmdk") add_vmdk_extents(layer, other_files, root);
  if (layer.format == "raw") return {};
  LayerFacts facts = read_layer_facts(layer);
  if (facts.encrypted) throw Error(ErrorCode::kUnsupported, fmt::format("{} is encrypted", layer.path));
  if (facts.virtual_bytes > limits::kImageBytesMax) {
    throw Error(ErrorCode::kLimit,
                fmt::format("{} is a disk of {}, more than the {} allowed", layer.path,
                            format_bytes(facts.virtual_bytes), format_bytes(limits::kImageBytesMax)));
  }
  check_other_file(layer, other_files, "data file", facts.data_file_name);
  if (!facts.data_file_name.empty()) {
    layer.data_file = resolve_named(layer, "data file", facts.data_file_name, root);
  }
  return facts;
}

void check_depth(const ImageChain& chain) {
  if (chain.size() < kChainDepthMax) return;
  throw Error(ErrorCode::kLimit,
              fmt::format("{} has more than {} backing files", chain[0].path, kChainDepthMax - 1),
              "merge some of them with `qemu-img commit` or `qemu-img convert`");
}

/// The layer below the last one of `chain`.
ImageLayer next_layer(const ImageChain& chain, const LayerFacts& facts, const fs::path& root,
                      OtherFiles& other_files) {
  check_depth(chain);
  const ImageLayer& layer = chain.back();
  ImageLayer next;
  next.path = resolve_named(layer, "backing file", facts.backing_name, root);
  if (std::ranges::find(chain, next.path, &ImageLayer::path) != chain.end()) {
    throw Error(
        ErrorCode::kInvalid,
        fmt::format("{} names {} as its backing file, which leads back to itself", layer.path, next.path));
  }
  DetectedFormat format{facts.backing_format, true};
  if (format.name.empty()) format = detect_file_format(next.path);
  check_format_name(format.name);
  next.format = format.name;
  other_files = format.confirmed_by_name ? OtherFiles::kResolved : OtherFiles::kUnconfirmed;
  return next;
}

/// Whether what the layer names as its backing file is an overlay too: a qcow2 file that may be reached. What
/// is not there, or lies elsewhere, is the base.
bool may_be_overlay(const ImageLayer& layer, const LayerFacts& facts, const fs::path& root) {
  if (facts.backing_format != "qcow2" || has_protocol(facts.backing_name)) return false;
  const fs::path named = (fs::path(layer.path).parent_path() / facts.backing_name).lexically_normal();
  std::error_code failed;
  return lies_below(named, root) && fs::is_regular_file(named, failed) && !failed;
}

}  // namespace

ImageChain resolve_chain(ImageLayer top, OtherFiles other_files, const std::string& backing_root) {
  ImageChain chain;
  ImageLayer layer = std::move(top);
  const fs::path root(backing_root);
  for (;;) {
    const LayerFacts facts = complete_layer(layer, other_files, root);
    check_other_file(layer, other_files, "backing file", facts.backing_name);
    chain.push_back(std::move(layer));
    if (facts.backing_name.empty()) break;
    layer = next_layer(chain, facts, root, other_files);
  }
  for (const ImageLayer& each : chain) check_layer(each);
  return chain;
}

OverlayChain resolve_overlay(ImageLayer top, const std::string& backing_root) {
  OverlayChain overlay;
  ImageLayer layer = std::move(top);
  const fs::path root(backing_root);
  auto other_files = OtherFiles::kResolved;
  for (;;) {
    const LayerFacts facts = complete_layer(layer, other_files, root);
    if (facts.backing_name.empty()) break;
    overlay.base = facts.backing_name;
    overlay.layers.push_back(std::move(layer));
    if (!may_be_overlay(overlay.layers.back(), facts, root)) break;
    layer = next_layer(overlay.layers, facts, root, other_files);
  }
  if (overlay.layers.empty()) {
    throw Error(ErrorCode::kInvalid, fmt::format("{} has no backing file: it is a whole image", layer.path),
                "ingest it with --parent");
  }
  for (const ImageLayer& each : overlay.layers) check_layer(each);
  return overlay;
}

}  // namespace vmpack
