// SPDX-License-Identifier: Apache-2.0
// vmpack tag and untag: give a snapshot another name, and take a name away.
#include <fmt/format.h>

#include <ostream>

#include "libvmpack/repo/writer_session.hpp"
#include "tools/cli.hpp"

namespace vmpack::cli {
namespace {

struct TagOptions : CommonOptions {
  std::string reference;
  std::string new_reference;
  bool force = false;
};

struct UntagOptions : CommonOptions {
  std::string reference;
};

/// NAME[:TAG]; a digest says which snapshot, and is no name that can be set or removed.
ReferenceName reference_to_change(const std::string& text) {
  if (text.find('@') != std::string::npos) {
    throw Error(ErrorCode::kInvalid, fmt::format("'{}' is a snapshot's digest, not a tag", text),
                "write NAME:TAG");
  }
  return parse_reference_name(text);
}

std::string digest_text(const ReferenceName& name, const SnapshotDigest& snapshot) {
  return fmt::format("{}@{}", name.name, short_digest(snapshot));
}

int run_tag(const TagOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const ReferenceName name = reference_to_change(options.new_reference);
  const WriterSession session(*repository);
  const SnapshotDigest snapshot = repository->resolve(options.reference);
  session.commit(name, snapshot, options.force);
  if (options.json) {
    context.out << dump_json({{"reference", name.text()}, {"snapshot", snapshot.hex()}}) << '\n';
  } else if (!options.quiet) {
    context.out << fmt::format("{} is {}\n", name.text(), digest_text(name, snapshot));
  }
  return kDone;
}

/// References that still point to the snapshot.
std::vector<std::string> names_of(const Repository& repository, const SnapshotDigest& snapshot) {
  std::vector<std::string> names;
  for (const ReferenceEntry& entry : repository.references()) {
    if (entry.snapshot == snapshot) names.push_back(entry.name.text());
  }
  return names;
}

int run_untag(const UntagOptions& options, const Context& context) {
  const auto repository = open_repository(options);
  const ReferenceName name = reference_to_change(options.reference);
  const SnapshotDigest snapshot = repository->remove_reference(name).snapshot;
  std::vector<std::string> names = names_of(*repository, snapshot);
  if (options.json) {
    context.out << dump_json(
                       {{"reference", name.text()}, {"snapshot", snapshot.hex()}, {"references", names}})
                << '\n';
  } else if (!options.quiet) {
    names.insert(names.begin(), digest_text(name, snapshot));
    context.out << fmt::format("{} is removed; its snapshot stays: {}\n", name.text(),
                               fmt::join(names, ", "));
  }
  return kDone;
}

}  // namespace

void add_tag(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("tag", "Give a snapshot another reference");
  const auto options = std::make_shared<TagOptions>();
  command->add_option("REF", options->reference, "NAME, NAME:TAG or NAME@DIGEST")->required();
  command->add_option("NEW-REF", options->new_reference, "Reference to give it: NAME[:TAG]")->required();
  command->add_flag("--force", options->force, "Move NEW-REF if it points elsewhere");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback(
      [options, &context, &action] { action = [options, &context] { return run_tag(*options, context); }; });
}

void add_untag(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("untag", "Take a reference away; its snapshot stays");
  const auto options = std::make_shared<UntagOptions>();
  command->add_option("REF", options->reference, "NAME[:TAG]")->required();
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_untag(*options, context); };
  });
}

}  // namespace vmpack::cli
