// SPDX-License-Identifier: Apache-2.0
// vmpack diff: what is not the same in two images.
#include <fmt/core.h>

#include <ostream>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "tools/diff_result.hpp"
#include "tools/guest_files.hpp"
#include "tools/text_diff.hpp"

namespace vmpack::cli {
namespace {

constexpr std::uint64_t kCacheBytes = 256 * kMiB;
constexpr std::uint64_t kTextBytesMax = 1 * kMiB;

struct DiffOptions : CommonOptions {
  std::string before;
  std::string after;
  ImageOptions image;
  bool blocks = false;
  bool files = false;
  bool packages = false;
  std::string text;
  std::string volume;

  [[nodiscard]] bool is_summary() const { return !blocks && !files && !packages; }
};

/// Runs `find` and keeps what it found, or, in a summary, why it could not know.
template <typename Find>
void find_if_known(const DiffOptions& options, std::string& unknown, Find find) {
  try {
    find();
  } catch (const Error& error) {
    if (!options.is_summary() || error.code() != ErrorCode::kNotFound) throw;
    unknown = error.what();
  }
}

DiffResult find_differences(const DiffOptions& options, DiffSide& before, DiffSide& after,
                            const DiffWorld& world) {
  DiffResult result;
  result.before = before.name();
  result.after = after.name();
  result.old_snapshot = before.snapshot();
  result.new_snapshot = after.snapshot();
  if (options.blocks || options.is_summary()) result.blocks = find_block_differences(before, after, world);
  if (options.files || options.is_summary()) {
    find_if_known(options, result.files_unknown,
                  [&] { result.files = find_file_differences(before, after); });
  }
  if (options.packages || options.is_summary()) {
    find_if_known(options, result.packages_unknown,
                  [&] { result.packages = find_package_differences(before, after); });
  }
  return result;
}

void print_text(const DiffOptions& options, const DiffResult& result, std::ostream& out) {
  if (options.is_summary()) print_summary(result, out);
  if (options.blocks) print_blocks(*result.blocks, out);
  if (options.files) print_files(*result.files, out);
  if (options.packages) print_packages(*result.packages, out);
}

/// What the path leads to; empty, and called /dev/null, when it is not there.
LabelledText read_text(DiffSide& side, const DiffOptions& options, bool& is_there) {
  const std::vector<VolumeFiles>& files = known_files(side);
  const auto found = find_one(side.volumes(), files, options.text, options.volume, side.name());
  const std::string label = printable(fmt::format("{}:{}", side.name(), options.text));
  LabelledText text{found ? label : "/dev/null", TempImage("to compare texts")};
  if (found) {
    const FileEntry file = with_extents(files[found->volume], found->file.entry);
    if (file.size > kTextBytesMax) {
      throw Error(ErrorCode::kLimit,
                  fmt::format("{} has {}, and --text takes up to {}", label, format_bytes(file.size),
                              format_bytes(kTextBytesMax)),
                  "write both out with 'vmpack cat', and compare those");
    }
    read_file(side.bytes(), file, [&](ByteView bytes) { text.text.append(bytes); });
  }
  text.text.finish();
  is_there = found.has_value();
  return text;
}

int run_text(const DiffOptions& options, DiffSide& before, DiffSide& after, const Context& context) {
  bool was_there = false;
  bool is_there = false;
  const LabelledText old_text = read_text(before, options, was_there);
  const LabelledText new_text = read_text(after, options, is_there);
  if (!was_there && !is_there) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("there is no {} in {}, nor in {}", options.text, before.name(), after.name()));
  }
  const std::string lines = unified_diff(old_text, new_text);
  const bool differ = was_there != is_there || !lines.empty();
  if (options.json) {
    context.out << dump_json({{"path", options.text}, {"differ", differ}, {"unified", lines}}) << '\n';
  } else if (!options.quiet) {
    context.out << (context.out_is_terminal ? printable_text(lines) : lines);
  }
  return differ ? kFound : kDone;
}

int run_diff(const DiffOptions& options, const Context& context) {
  const auto progress = make_progress(context, options);
  const DiffWorld world{options.repository.empty() ? nullptr : open_repository(options),
                        std::make_shared<FrameCache>(kCacheBytes), options.image, *progress};
  const auto before = open_side(options.before, world);
  const auto after = open_side(options.after, world);
  if (!options.text.empty()) return run_text(options, *before, *after, context);
  const DiffResult result = find_differences(options, *before, *after, world);
  if (options.json) {
    print_json(result, context.out);
  } else if (!options.quiet) {
    print_text(options, result, context.out);
  }
  return result.differ() ? kFound : kDone;
}

}  // namespace

void add_diff(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("diff", "Show what is not the same in two images");
  const auto options = std::make_shared<DiffOptions>();
  command->add_option("A", options->before, "The earlier one: a reference, or an image that was not ingested")
      ->required();
  command->add_option("B", options->after, "The later one, likewise")->required();
  command->add_flag("--blocks", options->blocks, "List the ranges that differ: offset and length in bytes");
  command->add_flag("--files", options->files, "List the files that were added, removed, changed or moved");
  command->add_flag("--packages", options->packages,
                    "List the packages that were installed, removed or upgraded");
  CLI::Option* text =
      command->add_option("--text", options->text, "Show how that file's lines differ, in the unified format")
          ->type_name("PATH");
  for (const char* other : {"--blocks", "--files", "--packages"}) text->excludes(other);
  add_volume_option(*command, options->volume)->needs(text);
  add_source_options(*command, options->image);
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->footer(
      "Without --blocks, --files, --packages and --text it sums up.\n"
      "Exit codes: 0 they are the same, 3 they differ, 1 failed, 2 wrong usage.");
  command->callback(
      [options, &context, &action] { action = [options, &context] { return run_diff(*options, context); }; });
}

}  // namespace vmpack::cli
