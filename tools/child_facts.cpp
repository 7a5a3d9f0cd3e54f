// SPDX-License-Identifier: Apache-2.0
#include "tools/child_facts.hpp"

#include <fmt/core.h>

#include <ostream>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/ingest/file_facts.hpp"
#include "tools/notes.hpp"

namespace vmpack::cli {
namespace {

OrderedJson child_facts(const ChildResult& child, const ParentSnapshot& parent, const ReferenceName& name,
                        const SourceFacts& source) {
  const IngestResult& result = child.ingest;
  return {{"reference", name.text()},
          {"snapshot", result.snapshot.hex()},
          {"parent", parent.snapshot.hex()},
          {"source", source.location},
          {"image_bytes", result.manifest.image_bytes},
          {"data_bytes", result.manifest.data_bytes},
          {"changed_bytes", result.manifest.changed->data},
          {"zeroed_bytes", result.manifest.changed->zeroed},
          {"objects", result.objects},
          {"objects_new", result.added.objects_new},
          {"bytes_new", result.added.bytes_new},
          {"stored_bytes", result.added.stored_bytes},
          {"frames_new", result.added.frames_new},
          {"packs_new", result.added.packs_new},
          {"seconds", result.seconds}};
}

void print_summary(const ChildResult& child, const ParentSnapshot& parent, const ReferenceName& name,
                   std::ostream& out) {
  const IngestResult& result = child.ingest;
  const ChangedBytes& changed = *result.manifest.changed;
  out << fmt::format("{} is {}@{}\n", name.text(), name.name, short_digest(result.snapshot));
  out << fmt::format("  parent   {}, of {}\n", short_digest(parent.snapshot),
                     format_bytes(parent.manifest.image_bytes));
  out << fmt::format("  changed  {} in {} objects, and {} are zeros now\n", format_bytes(changed.data),
                     format_count(result.objects), format_bytes(changed.zeroed));
  out << fmt::format("  added    {}: {} new objects of {}, in {:.1f} s\n",
                     format_bytes(result.added.stored_bytes), format_count(result.added.objects_new),
                     format_bytes(result.added.bytes_new), result.seconds);
}

}  // namespace

void tell_child(const ChildResult& child, const ParentSnapshot& parent, const ReferenceName& name,
                const SourceFacts& source, const CommonOptions& options, const Context& context) {
  const OrderedJson facts = child_facts(child, parent, name, source);
  OrderedJson note = facts;
  note["time"] = parent.repository->store().now();
  note["version"] = VMPACK_VERSION;
  parent.repository->put_note(child.ingest.snapshot, ingest_note(name), dump_json(note));
  if (options.json) {
    context.out << dump_json(facts) << '\n';
  } else if (!options.quiet) {
    print_summary(child, parent, name, context.out);
  }
  context.out.flush();
}

void record_child_files(const ParentSnapshot& parent, const ChildResult& child, const Layout& layout,
                        Source& source, int level, Progress& progress) {
  try {
    record_files(parent, child, layout, source, level, progress);
  } catch (const Error& error) {
    progress.warn(fmt::format("its files are not recorded: {}", error.what()));
  }
}

}  // namespace vmpack::cli
