// SPDX-License-Identifier: Apache-2.0
// vmpack cat: writes a file that lies in an image.
#include <fmt/core.h>

#include <ostream>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/read/image_bytes.hpp"
#include "tools/file_reference.hpp"
#include "tools/guest_files.hpp"

namespace vmpack::cli {
namespace {

constexpr std::uint64_t kCacheBytes = 64 * kMiB;

struct CatOptions : CommonOptions {
  std::string file;
  std::string volume;
};

int run_cat(const CatOptions& options, const Context& context) {
  const FileReference name(options.file);
  const auto repository = open_repository(options);
  const SnapshotDigest digest = repository->resolve(name.reference);
  const SnapshotFiles snapshot(*repository, digest, name.reference);
  const auto found =
      find_one(snapshot.manifest().volumes, snapshot.volumes(), name.path, options.volume, name.reference);
  if (!found) {
    throw Error(ErrorCode::kNotFound, fmt::format("there is no {} in {}", name.path, name.reference),
                fmt::format("'vmpack files {}' lists what there is; a path begins at the root of its volume",
                            name.reference));
  }
  const FileEntry file = with_extents(snapshot.volumes()[found->volume], found->file.entry);
  const ImageBytes image =
      bytes_of(ImageReader::open(repository, digest, std::make_shared<FrameCache>(kCacheBytes)));
  read_file(image, file, [&](ByteView bytes) {
    if (!context.out.write(as_text(bytes).data(), static_cast<std::streamsize>(bytes.size())))
      throw Error(ErrorCode::kIo, "cannot write the file out");
  });
  if (!context.out.flush()) throw Error(ErrorCode::kIo, "cannot write the file out");
  return kDone;
}

}  // namespace

void add_cat(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("cat", "Write out a file that lies in an image");
  const auto options = std::make_shared<CatOptions>();
  command->add_option("REF:/PATH", options->file, "A reference and a path on a volume: web:v1:/etc/fstab")
      ->required();
  add_volume_option(*command, options->volume);
  add_repository_option(*command, *options);
  command->callback(
      [options, &context, &action] { action = [options, &context] { return run_cat(*options, context); }; });
}

}  // namespace vmpack::cli
