// SPDX-License-Identifier: Apache-2.0
// vmpack stats: what the repository holds, and what packing saved.
#include <fmt/core.h>

#include <array>
#include <ostream>
#include <set>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/index_cache.hpp"
#include "libvmpack/repo/verify.hpp"
#include "tools/cli.hpp"
#include "tools/table.hpp"

namespace vmpack::cli {
namespace {

struct StoredClass {
  std::uint64_t objects = 0;
  std::uint64_t raw_bytes = 0;
  std::uint64_t stored_bytes = 0;
};

struct Statistics {
  std::uint64_t references = 0;
  std::uint64_t snapshots = 0;
  std::uint64_t image_bytes = 0;  // of all snapshots
  std::uint64_t data_bytes = 0;
  std::uint64_t packs = 0;
  std::uint64_t frames = 0;
  std::uint64_t repository_bytes = 0;  // of all files
  std::uint64_t index_files = 0;
  std::uint64_t index_bytes = 0;
  std::uint64_t index_cache_bytes = 0;  // of copies on this machine
  std::array<StoredClass, kObjectClassCount> classes{};
};

Statistics gather(const Repository& repository) {
  Statistics statistics;
  Store& store = repository.store();
  statistics.references = repository.references().size();
  for (const SnapshotDigest& snapshot : repository.snapshots()) {
    const Manifest manifest = repository.manifest(snapshot);
    ++statistics.snapshots;
    statistics.image_bytes += manifest.image_bytes;
    statistics.data_bytes += manifest.data_bytes;
  }
  store.list("", [&](const std::string& key, std::uint64_t bytes) {
    statistics.repository_bytes += bytes;
    if (!key.starts_with("index/")) return;
    ++statistics.index_files;
    statistics.index_bytes += bytes;
  });
  statistics.index_cache_bytes = cached_index_bytes(index_cache_folder(repository.id()));
  for (const PackDigest& pack : list_packs(store)) {
    ++statistics.packs;
    for (const PackFrame& frame : read_pack_tables(store, pack).frames) {
      ++statistics.frames;
      StoredClass& stored = statistics.classes[static_cast<std::size_t>(frame.object_class)];
      stored.objects += frame.object_count;
      stored.raw_bytes += frame.raw_bytes;
      stored.stored_bytes += frame.stored_bytes;
    }
  }
  return statistics;
}

void print_json(const Statistics& statistics, std::ostream& out) {
  OrderedJson classes = OrderedJson::object();
  for (std::size_t i = 0; i < kObjectClassCount; ++i) {
    const StoredClass& stored = statistics.classes[i];
    if (stored.objects == 0) continue;
    classes[std::string(to_string(static_cast<ObjectClass>(i)))] = {
        {"objects", stored.objects}, {"raw_bytes", stored.raw_bytes}, {"stored_bytes", stored.stored_bytes}};
  }
  out << dump_json({{"references", statistics.references},
                    {"snapshots", statistics.snapshots},
                    {"image_bytes", statistics.image_bytes},
                    {"data_bytes", statistics.data_bytes},
                    {"packs", statistics.packs},
                    {"frames", statistics.frames},
                    {"repository_bytes", statistics.repository_bytes},
                    {"index_files", statistics.index_files},
                    {"index_bytes", statistics.index_bytes},
                    {"index_cache_bytes", statistics.index_cache_bytes},
                    {"classes", std::move(classes)}})
      << '\n';
}

void print_text(const Statistics& statistics, std::ostream& out) {
  out << fmt::format("{} references to {} snapshots: {} of images, {} of data\n", statistics.references,
                     statistics.snapshots, format_bytes(statistics.image_bytes),
                     format_bytes(statistics.data_bytes));
  const double ratio =
      statistics.repository_bytes == 0
          ? 0
          : static_cast<double>(statistics.data_bytes) / static_cast<double>(statistics.repository_bytes);
  out << fmt::format("stored in {} ({:.1f} times less): {} packs, {} frames\n",
                     format_bytes(statistics.repository_bytes), ratio, format_count(statistics.packs),
                     format_count(statistics.frames));
  out << fmt::format("object index of {} in {} files", format_bytes(statistics.index_bytes),
                     format_count(statistics.index_files));
  if (statistics.index_cache_bytes > 0)
    out << fmt::format(", {} of it copied to this machine", format_bytes(statistics.index_cache_bytes));
  out << '\n';
  std::vector<std::vector<std::string>> rows = {{"  class", "objects", "raw", "stored"}};
  for (std::size_t i = 0; i < kObjectClassCount; ++i) {
    const StoredClass& stored = statistics.classes[i];
    if (stored.objects == 0) continue;
    rows.push_back({fmt::format("  {}", to_string(static_cast<ObjectClass>(i))), format_count(stored.objects),
                    format_bytes(stored.raw_bytes), format_bytes(stored.stored_bytes)});
  }
  print_table(out, rows, {false, true, true, true});
}

int run_stats(const CommonOptions& options, const Context& context) {
  const Statistics statistics = gather(*open_repository(options));
  if (options.json) {
    print_json(statistics, context.out);
  } else {
    print_text(statistics, context.out);
  }
  return kDone;
}

}  // namespace

void add_stats(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command = app.add_subcommand("stats", "Show what the repository holds and what packing saved");
  const auto options = std::make_shared<CommonOptions>();
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_stats(*options, context); };
  });
}

}  // namespace vmpack::cli
