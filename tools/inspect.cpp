// SPDX-License-Identifier: Apache-2.0
// vmpack inspect: what is on an image; nothing is stored.
#include <fcntl.h>
#include <fmt/core.h>

#include <filesystem>
#include <ostream>

#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/ingest/ingest.hpp"
#include "libvmpack/read/restore.hpp"
#include "tools/image_options.hpp"
#include "tools/report/inspect_page.hpp"
#include "tools/table.hpp"

namespace vmpack::cli {
namespace {

struct InspectCommandOptions : CommonOptions {
  ImageOptions image;
  std::string report;
};

OrderedJson to_json(const ClassStatistics& statistics) {
  return {{"objects", statistics.objects}, {"bytes", statistics.bytes}};
}

OrderedJson to_json(const std::vector<SizedPath>& paths) {
  OrderedJson json = OrderedJson::array();
  for (const SizedPath& path : paths) json.push_back({{"path", path.path}, {"bytes", path.bytes}});
  return json;
}

OrderedJson to_json(const Volume& volume, const LargestPaths& largest) {
  const VolumeSummary summary = summarize(volume);
  return {{"number", summary.number},
          {"name", summary.name},
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
          {"warning", volume.warning},
          {"largest_directories", to_json(largest.folders)},
          {"largest_files", to_json(largest.files)}};
}

std::array<ClassStatistics, kObjectClassCount> all_objects(const Survey& survey) {
  std::array<ClassStatistics, kObjectClassCount> classes;
  for (std::size_t i = 0; i < kObjectClassCount; ++i) classes[i] = survey.classes[i].all;
  return classes;
}

/// What a repository has of the image.
OrderedJson comparison_json(const ImageFacts& facts) {
  OrderedJson classes = OrderedJson::object();
  for (std::size_t i = 0; i < kObjectClassCount; ++i) {
    const ClassSurvey& survey = facts.survey.classes[i];
    if (survey.all.objects == 0) continue;
    classes[std::string(to_string(static_cast<ObjectClass>(i)))] = {{"known", to_json(survey.known)},
                                                                    {"new", to_json(survey.fresh)}};
  }
  OrderedJson files = OrderedJson::array();
  for (std::size_t i = 0; i < facts.largest.size(); ++i) {
    for (const SizedPath& path : facts.largest[i].fresh_files) {
      files.push_back(
          {{"volume", facts.layout.volumes[i].number}, {"path", path.path}, {"bytes", path.bytes}});
    }
  }
  const ClassSurvey sum = total(facts.survey);
  return {{"repository", facts.repository},
          {"known", to_json(sum.known)},
          {"new", to_json(sum.fresh)},
          {"classes", std::move(classes)},
          {"largest_new_files", std::move(files)}};
}

void print_json(const ImageFacts& facts, const Context& context) {
  OrderedJson volumes = OrderedJson::array();
  for (std::size_t i = 0; i < facts.layout.volumes.size(); ++i) {
    volumes.push_back(to_json(facts.layout.volumes[i], facts.largest[i]));
  }
  OrderedJson json = {{"image", facts.source.location},
                      {"format", facts.source.format},
                      {"bytes", facts.image_bytes},
                      {"table", facts.layout.table},
                      {"volumes", std::move(volumes)},
                      {"classes", classes_to_json(all_objects(facts.survey))},
                      {"repeated", to_json(total(facts.survey).repeated)},
                      {"os", OrderedJson::parse(to_json(facts.os)).at("systems")}};
  if (!facts.repository.empty()) json["compared"] = comparison_json(facts);
  context.out << dump_json(json) << '\n';
}

void print_comparison(const ImageFacts& facts, std::ostream& out) {
  const ClassSurvey sum = total(facts.survey);
  out << fmt::format("{} holds {} of it already; new are {} in {} objects, before compression:\n",
                     printable(facts.repository), format_bytes(sum.known.bytes),
                     format_bytes(sum.fresh.bytes), format_count(sum.fresh.objects));
  std::vector<std::vector<std::string>> rows = {{"  class", "stored already", "new"}};
  for (std::size_t i = 0; i < kObjectClassCount; ++i) {
    const ClassSurvey& survey = facts.survey.classes[i];
    if (survey.all.objects == 0) continue;
    rows.push_back({fmt::format("  {}", to_string(static_cast<ObjectClass>(i))),
                    format_bytes(survey.known.bytes), format_bytes(survey.fresh.bytes)});
  }
  print_table(out, rows, {false, true, true});
}

void print_text(const ImageFacts& facts, const Context& context) {
  context.out << fmt::format("{}: {} disk ({}), {}\n", printable(facts.source.location),
                             format_bytes(facts.image_bytes), facts.source.format,
                             facts.layout.table.empty() ? "no partition table" : facts.layout.table);
  std::vector<VolumeSummary> summaries;
  for (const Volume& volume : facts.layout.volumes) summaries.push_back(summarize(volume));
  if (!summaries.empty()) print_volumes(context.out, summaries);
  const ClassStatistics repeated = total(facts.survey).repeated;
  context.out << fmt::format("data by class ({} of it repeats what the image has elsewhere):\n",
                             format_bytes(repeated.bytes));
  print_classes(context.out, all_objects(facts.survey));
  if (!facts.repository.empty()) print_comparison(facts, context.out);
  if (!facts.os.systems.empty()) {
    context.out << "operating systems:\n";
    print_systems(context.out, facts.os);
  }
}

std::vector<LargestPaths> find_largest(const Layout& layout, const Survey& survey, bool compared) {
  std::vector<LargestPaths> largest;
  for (std::size_t i = 0; i < layout.volumes.size(); ++i) {
    const Volume& volume = layout.volumes[i];
    const auto& files = survey.files[i];
    largest.push_back({largest_folders(volume, files, &FileSurvey::bytes, kLargestCount),
                       largest_files(volume, files, &FileSurvey::bytes, kLargestCount),
                       {}});
    if (compared) {
      largest.back().fresh_files = largest_files(volume, files, &FileSurvey::fresh_bytes, kLargestCount);
    }
  }
  return largest;
}

ImageFacts find_facts(const InspectCommandOptions& options, Progress& progress) {
  ImageFacts facts;
  facts.repository = options.repository;
  const auto repository = facts.repository.empty() ? nullptr : open_repository(options);
  const auto source = open_source(options.image.image, options.image.source(), progress);
  facts.source = source->facts();
  facts.image_bytes = source->size();
  const auto appliance = start_appliance(options.image.no_os, *source);
  facts.layout = inspect_image(*source, appliance.get(), progress);
  if (appliance) {
    progress.begin("reading volumes", 0);
    appliance->complete(facts.layout, progress);
    progress.end();
  }
  facts.survey = survey(*source, facts.layout, repository.get(), progress);
  facts.largest = find_largest(facts.layout, facts.survey, repository != nullptr);
  if (appliance) {
    progress.begin("reading the operating system", 0);
    ApplianceSession::Facts found = appliance->facts();
    progress.end();
    if (!found.failure.empty()) progress.warn(fmt::format("no operating-system facts: {}", found.failure));
    facts.os = std::move(found.facts);
  }
  return facts;
}

/// The page that replaces an older one only when it is complete. Fails before the image is read where it
/// could not be written, or would replace what is no page.
std::unique_ptr<PendingFile> open_report(const std::string& path, const std::string& image) {
  if (path.empty()) return nullptr;
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored)) {
    throw Error(ErrorCode::kInvalid, fmt::format("{} is no regular file", path), "name another file");
  }
  if (std::filesystem::equivalent(path, image, ignored)) {
    throw Error(ErrorCode::kInvalid, "the report would replace the image", "name another file");
  }
  return std::make_unique<PendingFile>(path, true);
}

int run_inspect(const InspectCommandOptions& options, const Context& context) {
  const auto progress = make_progress(context, options);
  const auto report = open_report(options.report, options.image.image);
  const ImageFacts facts = find_facts(options, *progress);
  if (report) {
    write_at(FileDescriptor::open(report->temporary(), O_WRONLY).get(), as_byte_view(inspect_page(facts)), 0,
             report->path());
    report->publish();
  }
  if (options.json) {
    print_json(facts, context);
  } else if (!options.quiet) {
    print_text(facts, context);
    if (report) context.out << fmt::format("report: {}\n", printable(report->path()));
  }
  return kDone;
}

}  // namespace

void add_inspect(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("inspect", "Show what is on an image; nothing is stored");
  const auto options = std::make_shared<InspectCommandOptions>();
  add_image_options(*command, options->image);
  command->add_option("--report", options->report, "Also write it as an HTML page, with a map of the disk")
      ->type_name("FILE");
  // Not from the environment: what there is on an image does not depend on a repository.
  command->add_option("--repo", options->repository, "Also tell what of it this repository holds already")
      ->type_name("REPO");
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_inspect(*options, context); };
  });
}

}  // namespace vmpack::cli
