// SPDX-License-Identifier: Apache-2.0
// vmpack inspect: what is on an image; nothing is stored.
#include "libvmpack/inspect/inspect.hpp"

#include <fmt/core.h>

#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/ingest/ingest.hpp"
#include "tools/image_options.hpp"

namespace vmpack::cli {
namespace {

struct InspectCommandOptions : CommonOptions {
  ImageOptions image;
};

OrderedJson to_json(const Volume& volume) {
  const VolumeSummary summary = summarize(volume);
  return {{"number", summary.number},
          {"offset", summary.offset},
          {"bytes", summary.bytes},
          {"type", summary.type},
          {"partition_type", volume.partition_type},
          {"label", summary.label},
          {"uuid", summary.uuid},
          {"inspected", summary.inspected},
          {"dirty", volume.dirty},
          {"file_count", summary.file_count},
          {"free_bytes", summary.free_bytes},
          {"warning", volume.warning}};
}

void print_json(const Source& source, const Layout& layout,
                const std::array<ClassStatistics, kObjectClassCount>& classes, const OsInspection::Result& os,
                const Context& context) {
  OrderedJson volumes = OrderedJson::array();
  for (const Volume& volume : layout.volumes) volumes.push_back(to_json(volume));
  context.out << dump_json({{"image", source.facts().location},
                            {"format", source.facts().format},
                            {"bytes", source.size()},
                            {"table", layout.table},
                            {"volumes", std::move(volumes)},
                            {"classes", classes_to_json(classes)},
                            {"os", OrderedJson::parse(to_json(os.facts)).at("systems")}})
              << '\n';
}

void print_text(const Source& source, const Layout& layout,
                const std::array<ClassStatistics, kObjectClassCount>& classes, const OsInspection::Result& os,
                const Context& context) {
  context.out << fmt::format("{}: {} disk ({}), {}\n", printable(source.facts().location),
                             format_bytes(source.size()), source.facts().format,
                             layout.table.empty() ? "no partition table" : layout.table);
  std::vector<VolumeSummary> summaries;
  for (const Volume& volume : layout.volumes) summaries.push_back(summarize(volume));
  if (!summaries.empty()) print_volumes(context.out, summaries);
  context.out << "data by class:\n";
  print_classes(context.out, classes);
  if (!os.facts.systems.empty()) {
    context.out << "operating systems:\n";
    print_systems(context.out, os.facts);
  }
}

int run_inspect(const InspectCommandOptions& options, const Context& context) {
  const auto progress = make_progress(context, options);
  const auto source = open_source(options.image.image, options.image.source(), *progress);
  std::unique_ptr<OsInspection> os;
  if (!options.image.no_os) os = OsInspection::start(source->attachment(), kOsTimeMax);
  const Layout layout = inspect(*source, {}, *progress);
  const auto classes = measure_classes(*source, layout, *progress);
  OsInspection::Result found;
  if (os) {
    progress->begin("reading the operating system", 0);
    found = os->wait();
    progress->end();
    if (!found.failure.empty()) progress->warn(fmt::format("no operating-system facts: {}", found.failure));
  }
  if (options.json) {
    print_json(*source, layout, classes, found, context);
  } else {
    print_text(*source, layout, classes, found, context);
  }
  return kDone;
}

}  // namespace

void add_inspect(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("inspect", "Show what is on an image; nothing is stored");
  const auto options = std::make_shared<InspectCommandOptions>();
  add_image_options(*command, options->image);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_inspect(*options, context); };
  });
}

}  // namespace vmpack::cli
