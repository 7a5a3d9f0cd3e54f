// SPDX-License-Identifier: Apache-2.0
// vmpack export: snapshots into one file, for a repository that no network reaches.
#include "libvmpack/repo/export.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "tools/chosen_references.hpp"
#include "tools/cli.hpp"
#include "tools/moving.hpp"

namespace vmpack::cli {
namespace {

constexpr std::string_view kStandardOutput = "-";

struct ExportOptions : CommonOptions {
  ChosenReferences chosen;
  std::vector<std::string> words;
  std::string file;
  std::vector<std::string> since;
  std::string known_to;
  bool force = false;
};

/// Snapshots that 'vmpack list --json' told of the other side, as far as they are here too.
void add_listed(const Repository& repository, const std::string& path, std::vector<SnapshotDigest>& known) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  if (!file) throw system_error(errno, "cannot read", path);
  const std::vector<SnapshotDigest> here = repository.snapshots();
  try {
    const OrderedJson list = OrderedJson::parse(text.str());
    for (const OrderedJson& entry : list.at("references")) {
      const auto digest = Digest::from_hex(entry.at("snapshot").get<std::string>());
      if (digest && std::ranges::binary_search(here, SnapshotDigest(*digest))) known.emplace_back(*digest);
    }
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorCode::kInvalid,
                fmt::format("{} is not what 'vmpack list --json' prints", printable(path)),
                "run it on the other side, and bring its output here");
  }
}

std::vector<SnapshotDigest> known_snapshots(const Repository& repository, const ExportOptions& options) {
  std::vector<SnapshotDigest> known;
  for (const std::string& text : options.since) known.push_back(repository.resolve(text));
  if (!options.known_to.empty()) add_listed(repository, options.known_to, known);
  std::ranges::sort(known);
  const auto same = std::ranges::unique(known);
  known.erase(same.begin(), same.end());
  return known;
}

/// A file that has its name only when it is whole.
class NewFile {
 public:
  NewFile(std::string path, bool force) : path_(std::move(path)), part_(path_ + ".part") {
    if (!force && std::filesystem::exists(path_)) {
      throw Error(ErrorCode::kAlreadyExists, fmt::format("{} exists already", path_),
                  "choose another name, or replace it with --force");
    }
    file_ = FileDescriptor::open(part_, O_WRONLY | O_CREAT | O_TRUNC);
  }
  ~NewFile() {
    if (file_) ::unlink(part_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  [[nodiscard]] int get() const { return file_.get(); }
  void finish() {
    if (::fsync(file_.get()) != 0) throw system_error(errno, "cannot write", part_);
    if (std::rename(part_.c_str(), path_.c_str()) != 0) throw system_error(errno, "cannot name", path_);
    file_.reset();
  }

 private:
  std::string path_;
  std::string part_;
  FileDescriptor file_;
};

int run_export(const ExportOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const std::vector<CopyItem> items = chosen_items(*repository, options.chosen);
  const std::vector<SnapshotDigest> known = known_snapshots(*repository, options);
  const auto progress = make_progress(context, options);
  if (options.file == kStandardOutput) {
    ExportWriter out(STDOUT_FILENO, "the standard output");
    export_snapshots(repository, items, known, out, *progress);
    return kDone;
  }
  NewFile file(options.file, options.force);
  ExportWriter out(file.get(), options.file);
  const CopyReport report = export_snapshots(repository, items, known, out, *progress);
  file.finish();
  print_report(items, report, "exported", {{"file_bytes", out.bytes()}}, options, context);
  return kDone;
}

}  // namespace

void add_export(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command =
      app.add_subcommand("export", "Write snapshots into one file, to be imported where no network goes");
  const auto options = std::make_shared<ExportOptions>();
  command
      ->add_option("REF... FILE", options->words,
                   "References ('NAME:*' is all of a name), then the file to write; - is the standard output")
      ->required();
  add_choosing_options(*command, options->chosen);
  command->add_option("--since", options->since, "A snapshot that the other side has; may be given again")
      ->type_name("REF")
      ->allow_extra_args(false);
  command
      ->add_option("--known-to", options->known_to,
                   "What 'vmpack list --json' prints there: all of it is left out")
      ->type_name("FILE");
  command->add_flag("--force", options->force, "Replace FILE if it exists");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    // Of several words the last one is the file.
    options->file = options->words.back();
    options->chosen.references.assign(options->words.begin(), options->words.end() - 1);
    action = [options, &context] { return run_export(*options, context); };
  });
}

}  // namespace vmpack::cli
