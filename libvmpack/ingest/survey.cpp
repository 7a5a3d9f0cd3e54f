// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/survey.hpp"

#include <algorithm>
#include <bit>
#include <memory>
#include <unordered_map>

#include "libvmpack/ingest/pipeline.hpp"
#include "libvmpack/ingest/window.hpp"
#include "libvmpack/partition/plan.hpp"
#include "libvmpack/repo/object_index.hpp"

namespace vmpack {
namespace {

void add(ClassStatistics& to, std::uint64_t objects, std::uint64_t bytes) {
  to.objects += objects;
  to.bytes += bytes;
}

void add(ClassStatistics& to, const ClassStatistics& more) { add(to, more.objects, more.bytes); }

/// Takes windows, one after the other, into a survey.
class Surveyor {
 public:
  Surveyor(const Layout& layout, const Repository* repository) {
    if (repository != nullptr) index_ = ObjectIndex::open(*repository);
    survey_.cell_bytes = std::bit_ceil(std::max(divide_up(layout.image_bytes, kSurveyCellsMax), kBlockBytes));
    survey_.cells.resize(divide_up(layout.image_bytes, survey_.cell_bytes));
    for (const Volume& volume : layout.volumes) survey_.files.emplace_back(volume.files.size());
  }

  void add_window(const Window& window) {
    for (const CutObject& object : window.objects) {
      if (!object.zero && !object.slack) add_object(window, object);
    }
  }

  [[nodiscard]] Survey take() { return std::move(survey_); }

 private:
  void add_object(const Window& window, const CutObject& object) {
    const Part& part = window.parts[object.part];
    const auto number = static_cast<std::size_t>(part.object_class);
    const auto [entry, is_first] = known_.try_emplace(object.digest, false);
    if (is_first && index_) entry->second = index_->find(object.digest).has_value();
    const bool is_fresh = is_first && !entry->second;
    ClassSurvey& of_class = survey_.classes[number];
    add(of_class.all, 1, object.bytes);
    if (!is_first) add(of_class.repeated, 1, object.bytes);
    if (entry->second) add(of_class.known, 1, object.bytes);
    if (is_fresh) add(of_class.fresh, 1, object.bytes);
    if (part.file != Part::kNoFile) {
      FileSurvey& file = survey_.files[part.volume][part.file];
      file.bytes += object.bytes;
      if (is_fresh) file.fresh_bytes += object.bytes;
    }
    for_each_range(window, object, [&](const ByteRange& range) { add_to_cells(range, number); });
  }

  void add_to_cells(ByteRange range, std::size_t object_class) {
    while (range.length > 0) {
      const std::uint64_t cell = range.offset / survey_.cell_bytes;
      const std::uint64_t length = std::min(range.length, (cell + 1) * survey_.cell_bytes - range.offset);
      survey_.cells[cell][object_class] += length;
      range = {range.offset + length, range.length - length};
    }
  }

  std::unique_ptr<ObjectIndex> index_;                        // null: nothing is known
  std::unordered_map<ObjectDigest, bool, DigestHash> known_;  // objects met so far
  Survey survey_;
};

}  // namespace

Survey survey(Source& source, const Layout& layout, const Repository* repository, Progress& progress) {
  const RepositoryParameters parameters =
      repository == nullptr ? RepositoryParameters{} : repository->parameters();
  const Plan plan =
      make_plan(layout, source.data_ranges(0, source.size()), {parameters.whole_file_bytes_max});
  Surveyor surveyor(layout, repository);
  cut_plan(plan, source, parameters, "measuring", progress,
           [&](const Window& window) { surveyor.add_window(window); });
  return surveyor.take();
}

ClassSurvey total(const Survey& survey) {
  ClassSurvey sum;
  for (const ClassSurvey& of_class : survey.classes) {
    add(sum.all, of_class.all);
    add(sum.repeated, of_class.repeated);
    add(sum.known, of_class.known);
    add(sum.fresh, of_class.fresh);
  }
  return sum;
}

}  // namespace vmpack
