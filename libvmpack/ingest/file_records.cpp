// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/file_records.hpp"

#include "libvmpack/ingest/file_contents.hpp"
#include "libvmpack/ingest/pipeline.hpp"
#include "libvmpack/partition/plan.hpp"

namespace vmpack {

std::vector<std::vector<FileRecord>> read_file_records(Source& source, const Layout& layout,
                                                       const RepositoryParameters& parameters,
                                                       Progress& progress) {
  // Without data ranges there are no parts but the files'.
  const Plan plan = make_plan(layout, {}, {parameters.whole_file_bytes_max});
  FileContents contents(layout);
  cut_plan(plan, source, parameters, "reading files", progress,
           [&](const Window& window) { contents.add(window); });
  return contents.take_records();
}

}  // namespace vmpack
