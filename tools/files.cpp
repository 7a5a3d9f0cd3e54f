// SPDX-License-Identifier: Apache-2.0
// vmpack files: lists what lies in a folder of an image.
#include <fmt/core.h>

#include <functional>
#include <ostream>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "tools/guest_files.hpp"

namespace vmpack::cli {
namespace {

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

struct FilesOptions : CommonOptions {
  std::string reference;
  std::string path = "/";
  std::string volume;
  bool recursive = false;
};

using Show = std::function<void(const FoundFile& file)>;

/// A folder's contents, or the one file that the path names.
void show_all(const SnapshotFiles& snapshot, const FoundFile& at, bool recursive, const Show& show) {
  if (at.file.entry.type != FileType::kDirectory) {
    show(at);
    return;
  }
  for_each_in(snapshot.volumes()[at.volume], at.file.entry.path, recursive,
              [&](FileRecord file) { show({at.volume, std::move(file)}); });
}

void print_line(const FileEntry& file, std::ostream& out) {
  const std::int64_t seconds =
      file.modified_ns / kNanosecondsPerSecond - (file.modified_ns % kNanosecondsPerSecond < 0 ? 1 : 0);
  out << fmt::format("{} {:>5} {:>5} {:>11} {} {}", mode_text(file.type, file.mode), file.uid, file.gid,
                     file.size, format_time(seconds), printable(file.path));
  if (file.type == FileType::kSymlink) out << " -> " << printable(file.target);
  out << '\n';
}

/// One file a line, so that memory does not grow with their number.
void print_json(const SnapshotFiles& snapshot, const std::vector<FoundFile>& found, bool recursive,
                const SnapshotDigest& digest, std::ostream& out) {
  out << "{\n  \"snapshot\": \"" << digest.hex() << "\",\n  \"files\": [";
  std::string_view separator = "\n    ";
  for (const FoundFile& at : found) {
    show_all(snapshot, at, recursive, [&](const FoundFile& file) {
      OrderedJson json = {{"volume", volume_id(snapshot.manifest().volumes[file.volume])}};
      json.update(to_json(file.file));
      out << separator << dump_json_line(json);
      separator = ",\n    ";
    });
  }
  out << "\n  ]\n}\n";
}

void print_text(const SnapshotFiles& snapshot, const std::vector<FoundFile>& found, bool recursive,
                std::ostream& out) {
  for (const FoundFile& at : found) {
    if (found.size() > 1) {
      if (&at != &found.front()) out << '\n';
      out << describe(snapshot.manifest().volumes[at.volume]) << ":\n";
    }
    show_all(snapshot, at, recursive, [&](const FoundFile& file) { print_line(file.file.entry, out); });
  }
}

int run_files(const FilesOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const SnapshotDigest digest = repository->resolve(options.reference);
  const SnapshotFiles snapshot(*repository, digest, options.reference);
  const auto volumes = chosen_volumes(snapshot.manifest().volumes, snapshot.volumes(), options.volume);
  const auto found = find_on_volumes(snapshot.volumes(), volumes, options.path, options.path.ends_with('/'));
  if (found.empty()) {
    throw Error(ErrorCode::kNotFound, fmt::format("there is no {} in {}", options.path, options.reference));
  }
  if (options.json) {
    print_json(snapshot, found, options.recursive, digest, context.out);
  } else {
    print_text(snapshot, found, options.recursive, context.out);
  }
  return kDone;
}

}  // namespace

void add_files(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("files", "List the files in a folder of an image");
  const auto options = std::make_shared<FilesOptions>();
  command->add_option("REF", options->reference, "NAME, NAME:TAG or NAME@DIGEST")->required();
  command->add_option("PATH", options->path, "A folder of a volume, or a file")->capture_default_str();
  command->add_flag("-r,--recursive", options->recursive, "Also what lies in folders below");
  add_volume_option(*command, options->volume);
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_files(*options, context); };
  });
}

}  // namespace vmpack::cli
