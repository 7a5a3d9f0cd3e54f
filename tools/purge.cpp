// SPDX-License-Identifier: Apache-2.0
// vmpack purge: takes content that must not exist out of every snapshot.
#include "libvmpack/repo/purge.hpp"

#include <fmt/core.h>

#include <ostream>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "tools/cli.hpp"
#include "tools/file_reference.hpp"
#include "tools/guest_files.hpp"
#include "tools/moving.hpp"

namespace vmpack::cli {
namespace {

constexpr std::size_t kFilesShown = 20;

struct PurgeOptions : CommonOptions {
  std::vector<std::string> files;
  std::vector<std::string> objects;
  std::string volume;
  bool dry_run = false;
};

void add_file(const Repository& repository, const PurgeOptions& options, const std::string& text,
              std::vector<ObjectDigest>& objects) {
  const FileReference name(text);
  const SnapshotDigest digest = repository.resolve(name.reference);
  const SnapshotFiles snapshot(repository, digest, name.reference);
  const auto found =
      find_one(snapshot.manifest().volumes, snapshot.volumes(), name.path, options.volume, name.reference);
  if (!found) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("there is no {} in {}", printable(name.path), name.reference),
                fmt::format("'vmpack files {}' lists what there is", name.reference));
  }
  const FileEntry file = with_extents(snapshot.volumes()[found->volume], found->file.entry);
  for (const ObjectDigest& object : objects_of_file(repository, digest, file)) objects.push_back(object);
  // Where a purge was killed its file reads as zeros already.
  for (const ObjectDigest& object : purged_objects(repository, digest)) objects.push_back(object);
}

std::vector<ObjectDigest> chosen_objects(const Repository& repository, const PurgeOptions& options) {
  if (options.files.empty() && options.objects.empty()) {
    throw Error(ErrorCode::kInvalid, "nothing is named that shall be purged",
                "name --file REF:/PATH or --object SHA256");
  }
  std::vector<ObjectDigest> objects;
  for (const std::string& text : options.files) add_file(repository, options, text, objects);
  for (const std::string& text : options.objects) {
    const auto digest = Digest::from_hex(text);
    if (!digest) {
      throw Error(ErrorCode::kInvalid, fmt::format("'{}' is no object's digest", printable(text)),
                  "give all 64 digits of its SHA-256");
    }
    objects.emplace_back(*digest);
  }
  return objects;
}

void print_json(const PurgeReport& report, bool dry_run, std::ostream& out) {
  OrderedJson json = {{"dry_run", dry_run},
                      {"frames", report.frames},
                      {"packs_removed", report.packs_removed},
                      {"references", report.references},
                      {"snapshots", OrderedJson::array()}};
  for (const PurgedSnapshot& purged : report.snapshots) {
    json["snapshots"].push_back({{"before", purged.before.hex()},
                                 {"after", dry_run ? OrderedJson() : OrderedJson(purged.after.hex())},
                                 {"bytes", purged.bytes},
                                 {"files", purged.files}});
  }
  out << dump_json(json) << '\n';
}

void print_text(const PurgeReport& report, bool dry_run, std::ostream& out) {
  for (const PurgedSnapshot& purged : report.snapshots) {
    out << fmt::format("snapshot {}{}: {} {} as zeros\n", short_digest(purged.before),
                       dry_run ? "" : " is now " + short_digest(purged.after), format_bytes(purged.bytes),
                       dry_run ? "would read" : "read");
    for (std::size_t i = 0; i < std::min(kFilesShown, purged.files.size()); ++i) {
      out << fmt::format("  {}\n", printable(purged.files[i]));
    }
    if (purged.files.size() > kFilesShown) {
      out << fmt::format("  and {} more files; --json tells all\n",
                         format_count(purged.files.size() - kFilesShown));
    }
  }
  for (const std::string& reference : report.references) out << fmt::format("{} was moved\n", reference);
  if (report.snapshots.empty()) {
    out << (report.frames == 0 ? "no such content is stored\n" : "no snapshot holds it\n");
  }
  if (!dry_run && report.packs_removed > 0) {
    out << "servers may still hold it in memory: restart vmserve wherever it runs on this repository\n";
  }
}

int run_purge(const PurgeOptions& options, const Context& context) {
  const std::shared_ptr<const Repository> repository = open_repository(options);
  const std::vector<ObjectDigest> objects = chosen_objects(*repository, options);
  const auto progress = make_progress(context, options);
  const PurgeReport report = purge(repository, objects, options.dry_run, *progress);
  if (options.json) {
    print_json(report, options.dry_run, context.out);
  } else if (!options.quiet) {
    print_text(report, options.dry_run, context.out);
  }
  return kDone;
}

}  // namespace

void add_purge(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command =
      app.add_subcommand("purge", "Take content that must not exist out of every snapshot, for good");
  const auto options = std::make_shared<PurgeOptions>();
  command->add_option("--file", options->files, "A file in an image: web:v1:/etc/secret.key")
      ->type_name("REF:/PATH")
      ->allow_extra_args(false);
  command->add_option("--object", options->objects, "An object, by its SHA-256")
      ->type_name("SHA256")
      ->allow_extra_args(false);
  command->add_flag("-n,--dry-run", options->dry_run, "Only say what would be purged");
  add_volume_option(*command, options->volume);
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_purge(*options, context); };
  });
}

}  // namespace vmpack::cli
