// SPDX-License-Identifier: Apache-2.0
// vmpack restore: writes a snapshot back as an image.
#include "libvmpack/read/restore.hpp"

#include <fmt/core.h>

#include <chrono>
#include <filesystem>
#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/parallel.hpp"
#include "libvmpack/base/parse_size.hpp"
#include "libvmpack/ingest/qcow2_sink.hpp"
#include "libvmpack/read/image_reader.hpp"
#include "libvmpack/read/update_sink.hpp"
#include "libvmpack/source/qcow2_writer.hpp"
#include "tools/cli.hpp"

namespace vmpack::cli {
namespace {

struct RestoreOptions : CommonOptions {
  std::string reference;
  std::string out;
  std::string format;
  std::string range;
  bool compress = false;
  bool update = false;
  bool force = false;
};

/// What is to be done, after a look at the options and at OUT.
enum class Way : std::uint8_t { kNewRaw, kNewQcow2, kRange, kUpdate };

Error conflict(std::string_view what, std::string hint = {}) {
  return {ErrorCode::kInvalid, std::string(what), std::move(hint)};
}

Way choose_way(const RestoreOptions& options) {
  const auto there = std::filesystem::status(options.out);
  const bool device = std::filesystem::is_block_file(there);
  if (std::filesystem::exists(there) && !device && !std::filesystem::is_regular_file(there)) {
    throw Error(ErrorCode::kRefused, fmt::format("{} is neither a file nor a block device", options.out));
  }
  const bool in_place = options.update || device;
  const bool qcow2 =
      options.format == "qcow2" || (options.format.empty() && !in_place && options.out.ends_with(".qcow2"));
  if (options.compress && !qcow2) throw conflict("only qcow2 can be compressed", "add --format qcow2");
  if (in_place && qcow2) throw conflict("only raw images can be written in place");
  if (!options.range.empty() && qcow2) throw conflict("--range gives a raw file, not qcow2");
  if (!options.range.empty() && in_place) throw conflict("--range needs a new file");
  if (!options.range.empty()) return Way::kRange;
  return in_place ? Way::kUpdate : qcow2 ? Way::kNewQcow2 : Way::kNewRaw;
}

/// "OFFSET:LENGTH", or "OFFSET:" for all from there on.
ByteRange parse_range(const std::string& text, std::uint64_t image_bytes) {
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) {
    throw conflict(fmt::format("'{}' is not a range", printable(text)),
                   "write --range OFFSET:LENGTH, as in 1M:512");
  }
  const std::uint64_t offset = parse_size(text.substr(0, colon));
  const std::string length_text = text.substr(colon + 1);
  const std::uint64_t rest = image_bytes - std::min(offset, image_bytes);
  const std::uint64_t length = length_text.empty() ? rest : parse_size(length_text);
  if (offset > image_bytes || length > rest) {
    throw conflict(fmt::format("the range {} reaches behind the image's end", text),
                   fmt::format("the image has {} bytes", image_bytes));
  }
  return {offset, length};
}

/// What is told of a restore.
struct Outcome {
  RestoreResult result;
  std::string format = "raw";
  std::optional<std::uint64_t> written_bytes;  ///< in place: what differed
  std::optional<std::uint64_t> zeroed_bytes;
};

/// Runs a restore into OUT.
class Restorer {
 public:
  Restorer(std::shared_ptr<const Repository> repository, const SnapshotDigest& snapshot,
           const RestoreOptions& options, Progress& progress)
      : repository_(std::move(repository)),
        snapshot_(snapshot),
        image_bytes_(repository_->manifest(snapshot).image_bytes),
        options_(options),
        progress_(progress) {}

  Outcome run() const {
    switch (choose_way(options_)) {
      case Way::kNewRaw:
        return {into(*open_raw_sink(options_.out, image_bytes_, options_.force))};
      case Way::kNewQcow2:
        return {to_qcow2(), "qcow2"};
      case Way::kRange:
        return {range()};
      case Way::kUpdate:
        return update();
    }
    return {};
  }

 private:
  RestoreResult into(ImageSink& sink) const {
    return restore(*repository_, snapshot_, sink, default_threads(), progress_);
  }

  RestoreResult to_qcow2() const {
    const auto sink = open_qcow2_sink(options_.out, image_bytes_, options_.force, options_.compress);
    if (!options_.compress) return into(*sink);
    return restore_blocks(repository_, snapshot_, kQcow2ClusterBytes, *sink, default_threads(), progress_);
  }

  RestoreResult range() const {
    const ByteRange range = parse_range(options_.range, image_bytes_);
    const auto sink = open_raw_sink(options_.out, range.length, options_.force);
    return restore_range(*repository_, snapshot_, range, *sink, default_threads(), progress_);
  }

  Outcome update() const {
    UpdateSink sink(options_.out, image_bytes_, image_start(), options_.force);
    Outcome outcome{into(sink)};
    outcome.written_bytes = sink.written_bytes();
    outcome.zeroed_bytes = sink.zeroed_bytes();
    return outcome;
  }

  [[nodiscard]] Bytes image_start() const {
    Bytes start(std::min(kUpdateStartBytes, image_bytes_));
    ImageReader::open(repository_, snapshot_, std::make_shared<FrameCache>(0))->read(0, start);
    return start;
  }

  std::shared_ptr<const Repository> repository_;
  SnapshotDigest snapshot_;
  std::uint64_t image_bytes_;
  const RestoreOptions& options_;
  Progress& progress_;
};

void print_json(const Outcome& outcome, const SnapshotDigest& snapshot, double seconds,
                const RestoreOptions& options, std::ostream& out) {
  OrderedJson json = {{"snapshot", snapshot.hex()},
                      {"file", options.out},
                      {"format", outcome.format},
                      {"image_bytes", outcome.result.image_bytes},
                      {"data_bytes", outcome.result.data_bytes},
                      {"stored_bytes", outcome.result.stored_bytes}};
  if (outcome.written_bytes) {
    json["written_bytes"] = *outcome.written_bytes;
    json["zeroed_bytes"] = *outcome.zeroed_bytes;
  }
  json["seconds"] = seconds;
  out << dump_json(json) << '\n';
}

void print_text(const Outcome& outcome, double seconds, const RestoreOptions& options, std::ostream& out) {
  const std::string what =
      options.range.empty() ? options.reference : fmt::format("{} of {}", options.range, options.reference);
  out << fmt::format("restored {} to {} ({}): {}, {} of data, in {:.1f} s\n", what, printable(options.out),
                     outcome.format, format_bytes(outcome.result.image_bytes),
                     format_bytes(outcome.result.data_bytes), seconds);
  if (outcome.written_bytes) {
    out << fmt::format("what differed: {} written, {} made zero\n", format_bytes(*outcome.written_bytes),
                       format_bytes(*outcome.zeroed_bytes));
  }
}

int run_restore(const RestoreOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const SnapshotDigest snapshot = repository->resolve(options.reference);
  const auto progress = make_progress(context, options);
  const auto start = std::chrono::steady_clock::now();
  const Outcome outcome = Restorer(repository, snapshot, options, *progress).run();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (options.json) {
    print_json(outcome, snapshot, seconds, options, context.out);
  } else if (!options.quiet) {
    print_text(outcome, seconds, options, context.out);
  }
  return kDone;
}

}  // namespace

void add_restore(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command =
      app.add_subcommand("restore", "Write a snapshot back as an image: to a file, or to a block device");
  const auto options = std::make_shared<RestoreOptions>();
  command->add_option("REF", options->reference, "NAME, NAME:TAG or NAME@DIGEST")->required();
  command
      ->add_option(
          "OUT", options->out,
          "New file; or a block device, of which only what differs is written. It must not be in use, "
          "and its first MiB must hold zeros or what the image has there")
      ->required();
  command->add_option("--format", options->format, "raw or qcow2 (default: by OUT's name)")
      ->check(CLI::IsMember({"raw", "qcow2"}));
  command->add_flag("--compress", options->compress, "Compress the qcow2 file (zstd)");
  command
      ->add_option("--range", options->range, "Only these bytes of the image: OFFSET:LENGTH, as in 1M:512K")
      ->type_name("RANGE");
  command->add_flag("--update", options->update,
                    "OUT is a raw file that exists: make it this image by writing only what differs");
  command->add_flag("--force", options->force,
                    "Replace OUT if it exists; of a block device, overwrite whatever it holds");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_restore(*options, context); };
  });
}

}  // namespace vmpack::cli
