// SPDX-License-Identifier: Apache-2.0
// vmpack restore: writes a snapshot back as an image file.
#include "libvmpack/read/restore.hpp"

#include <fmt/core.h>

#include <chrono>
#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/ingest/qcow2_sink.hpp"
#include "tools/cli.hpp"

namespace vmpack::cli {
namespace {

struct RestoreOptions : CommonOptions {
  std::string reference;
  std::string out;
  std::string format;
  bool force = false;
};

int run_restore(const RestoreOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const SnapshotDigest snapshot = repository->resolve(options.reference);
  const std::uint64_t image_bytes = repository->manifest(snapshot).image_bytes;
  const std::string format = !options.format.empty()           ? options.format
                             : options.out.ends_with(".qcow2") ? "qcow2"
                                                               : "raw";
  const auto progress = make_progress(context, options);
  const auto start = std::chrono::steady_clock::now();
  const auto sink = format == "qcow2" ? open_qcow2_sink(options.out, image_bytes, options.force)
                                      : open_raw_sink(options.out, image_bytes, options.force);
  const RestoreResult result = restore(*repository, snapshot, *sink, default_threads(), *progress);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.json) {
    context.out << dump_json({{"snapshot", snapshot.hex()},
                              {"file", options.out},
                              {"format", format},
                              {"image_bytes", result.image_bytes},
                              {"data_bytes", result.data_bytes},
                              {"stored_bytes", result.stored_bytes},
                              {"seconds", seconds}})
                << '\n';
  } else if (!options.quiet) {
    context.out << fmt::format("restored {} to {} ({}): {}, {} of data, in {:.1f} s\n", options.reference,
                               printable(options.out), format, format_bytes(result.image_bytes),
                               format_bytes(result.data_bytes), seconds);
  }
  return kDone;
}

}  // namespace

void add_restore(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("restore", "Write a snapshot back as an image file");
  const auto options = std::make_shared<RestoreOptions>();
  command->add_option("REF", options->reference, "NAME, NAME:TAG or NAME@DIGEST")->required();
  command->add_option("OUT", options->out, "File to write")->required();
  command->add_option("--format", options->format, "raw or qcow2 (default: by OUT's name)")
      ->check(CLI::IsMember({"raw", "qcow2"}));
  command->add_flag("--force", options->force, "Replace OUT if it exists");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_restore(*options, context); };
  });
}

}  // namespace vmpack::cli
