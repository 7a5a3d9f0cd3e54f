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
#include "libvmpack/source/format.hpp"
#include "libvmpack/source/nbd_source.hpp"
#include "libvmpack/source/raw_source.hpp"
#include "libvmpack/source/source.hpp"

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

void warn_of_compressed_file(const std::string& path, const std::string& image, Progress& progress) {
  const auto file = FileDescriptor::open(path, O_RDONLY | O_NONBLOCK);
  std::array<std::byte, 16> head{};
  const std::size_t got = read_at(file.get(), head, 0, image);
  const std::string_view kind = compressed_file_kind(ByteView(head).first(got));
  if (kind.empty()) return;
  progress.warn(fmt::format(
      "{} looks like a file compressed with {}, and is taken as it is; decompress it first", image, kind));
}

std::unique_ptr<Source> open_chain(const std::string& image, const ImageChain& chain, Progress& progress) {
  SourceFacts facts;
  facts.format = chain[0].format;
  facts.location = image;
  for (const ImageLayer& layer : chain) {
    for (std::string& file : layer.files()) {
      if (file != chain[0].path) facts.backing_chain.push_back(std::move(file));
    }
  }
  auto server = std::make_unique<QemuNbd>(chain);
  if (server->sandbox_level() == SandboxLevel::kLimitsOnly) {
    progress.warn(fmt::format(
        "this system allows no namespaces: qemu-nbd reads {} with limits and a system-call filter, "
        "but can see other files",
        image));
  }
  const NbdEndpoint endpoint{server->socket_path(), {}};
  return open_nbd(endpoint, std::move(server), std::move(facts));
}

}  // namespace

std::unique_ptr<Source> open_source(const std::string& image, const SourceOptions& options,
                                    Progress& progress) {
  if (is_nbd_uri(image)) {
    if (options.format && *options.format != "raw") {
      throw Error(ErrorCode::kInvalid, fmt::format("{} is an NBD export, which is always raw", image),
                  "leave out --format");
    }
    return open_nbd({{}, image}, nullptr, {"nbd", image, {}});
  }
  const std::string path = canonical(image);
  // Names what is no image at all before anything looks inside.
  static_cast<void>(
      image_file_bytes(FileDescriptor::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY).get(), image));
  DetectedFormat format;
  if (options.format) {
    check_format_name(*options.format);
    format = {*options.format, true};
  } else {
    format = detect_file_format(path);
  }
  if (format.name == "raw") {
    if (!options.format) warn_of_compressed_file(path, image, progress);
    return open_raw(path, image);
  }
  const std::string root =
      options.backing_root.empty() ? fs::path(path).parent_path().string() : canonical(options.backing_root);
  return open_chain(image, resolve_chain(path, format.name, format.confirmed_by_name, root), progress);
}

}  // namespace vmpack
