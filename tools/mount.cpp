// SPDX-License-Identifier: Apache-2.0
// vmpack mount: a snapshot as a read-only file.
#include <fmt/core.h>
#include <syslog.h>

#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/parse_size.hpp"
#include "tools/cli.hpp"
#include "tools/mount/image_mount.hpp"

namespace vmpack::cli {
namespace {

struct MountOptions : CommonOptions {
  std::string reference;
  std::string folder;
  std::string cache = "256M";
  bool foreground = false;
  bool allow_other = false;
};

/// "web@0123456789ab": what the reference means at this moment.
std::string fixed_name(const std::string& reference, const SnapshotDigest& snapshot) {
  return fmt::format("{}@{}", reference.substr(0, reference.find_first_of(":@")), short_digest(snapshot));
}

/// Where there is no terminal any more, messages go to the system's log.
void report_error(const MountOptions& options, const Context& context, const std::string& message) {
  if (options.foreground) {
    context.err << "vmpack: " << printable(message) << std::endl;
  } else {
    ::syslog(LOG_DAEMON | LOG_ERR, "vmpack mount %s: %s", options.reference.c_str(),
             printable(message).c_str());
  }
}

void print_mounted(const ImageMount& mount, const SnapshotDigest& snapshot, const Manifest& manifest,
                   const MountOptions& options, const Context& context) {
  if (options.json) {
    context.out << dump_json({{"snapshot", snapshot.hex()},
                              {"file", mount.image_path()},
                              {"image_bytes", manifest.image_bytes},
                              {"data_bytes", manifest.data_bytes}})
                << '\n';
  } else if (!options.quiet) {
    context.out << fmt::format("{} is {}, {}; 'fusermount3 -u {}' ends it\n",
                               fixed_name(options.reference, snapshot), printable(mount.image_path()),
                               format_bytes(manifest.image_bytes), printable(options.folder));
  }
  context.out.flush();
}

int run_mount(const MountOptions& options, const Context& context) {
  const std::uint64_t cache_bytes = parse_size(options.cache);
  if (cache_bytes < kFrameCacheBytesMin) throw Error(ErrorCode::kInvalid, "--cache must be at least 64M");
  const auto repository = open_repository(options);
  const SnapshotDigest snapshot = repository->resolve(options.reference);
  const Manifest manifest = repository->manifest(snapshot);
  ImageMount mount(ImageReader::open(repository, snapshot, std::make_shared<FrameCache>(cache_bytes)),
                   {.folder = options.folder,
                    .source = "vmpack:" + fixed_name(options.reference, snapshot),
                    .data_bytes = manifest.data_bytes,
                    .modified_seconds = repository->stored_seconds(snapshot),
                    .allow_other = options.allow_other,
                    .report = [&](const std::string& message) { report_error(options, context, message); }});
  print_mounted(mount, snapshot, manifest, options, context);
  if (!options.foreground) mount.continue_in_background();
  mount.serve();
  return kDone;
}

}  // namespace

void add_mount(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command =
      app.add_subcommand("mount", "Show a snapshot as a read-only file, DIR/disk.raw, through FUSE");
  const auto options = std::make_shared<MountOptions>();
  command->add_option("REF", options->reference, "NAME, NAME:TAG or NAME@DIGEST; a tag is looked up once")
      ->required();
  command->add_option("DIR", options->folder, "Folder to mount on; 'fusermount3 -u DIR' unmounts")
      ->required();
  command->add_option("--cache", options->cache, "Memory for decoded frames, as in 512M or 2G")
      ->type_name("SIZE")
      ->capture_default_str();
  command->add_flag("-f,--foreground", options->foreground, "Stay until unmounted or interrupted");
  command->add_flag("--allow-other", options->allow_other,
                    "Let other users read it too (FUSE's allow_other; see /etc/fuse.conf)");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_mount(*options, context); };
  });
}

}  // namespace vmpack::cli
