// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/pipeline.hpp"

#include <tbb/parallel_pipeline.h>

#include <algorithm>
#include <numeric>
#include <tuple>

#include "libvmpack/partition/classify.hpp"

namespace vmpack {
namespace {

constexpr std::size_t kWindowsInFlight = 3;
/// In the last one nothing is left to others any more.
constexpr int kPutOffRounds = 3;

/// What travels through the pipeline.
struct Batch {
  Window window;
  std::vector<FramePlan> frames;
};
using BatchPtr = std::shared_ptr<Batch>;

/// Ranks of the window's parts in the order in which their new objects meet in frames: by class, then by kind
/// of file, then as they lie on the disk, where a file system keeps a folder's files together.
std::vector<std::uint64_t> frame_order(const Window& window, const Layout& layout) {
  const auto key = [&](std::size_t i) {
    const Part& part = window.parts[i];
    const auto extension = part.file == Part::kNoFile
                               ? std::string_view{}
                               : file_extension(layout.volumes[part.volume].files[part.file].path);
    return std::tuple(part.object_class, extension, i);
  };
  std::vector<std::size_t> sorted(window.parts.size());
  std::iota(sorted.begin(), sorted.end(), std::size_t{0});
  std::ranges::sort(sorted, {}, key);
  std::vector<std::uint64_t> ranks(sorted.size());
  for (std::size_t rank = 0; rank < sorted.size(); ++rank) ranks[sorted[rank]] = rank;
  return ranks;
}

/// Packs the parts, each stage at work on another window.
void pack_parts(std::span<const Part> rest, const Layout& layout, Source& source, Packer& packer,
                const RepositoryParameters& parameters, bool may_put_off, Progress& progress,
                const SeeWindow& see) {
  BufferPool buffers(kWindowBytesMax);
  const auto read = [&](tbb::flow_control& control) -> BatchPtr {
    if (rest.empty()) {
      control.stop();
      return nullptr;
    }
    const std::size_t count = next_window(rest);
    auto batch = std::make_shared<Batch>();
    batch->window = read_window(source, rest.first(count), buffers);
    rest = rest.subspan(count);
    return batch;
  };
  const auto cut = [&](BatchPtr batch) {
    cut_window(batch->window, parameters);
    return batch;
  };
  const auto plan_frames = [&](BatchPtr batch) {
    see(batch->window);
    batch->frames = packer.plan(batch->window, frame_order(batch->window, layout), may_put_off);
    return batch;
  };
  const auto encode = [&](BatchPtr batch) {
    packer.encode(batch->window, batch->frames);
    progress.advance(batch->window.content.size());
    return batch;
  };
  const auto store = [&](const BatchPtr& batch) { packer.store(std::move(batch->frames)); };
  using tbb::filter_mode;
  tbb::parallel_pipeline(kWindowsInFlight,
                         tbb::make_filter<void, BatchPtr>(filter_mode::serial_in_order, read) &
                             tbb::make_filter<BatchPtr, BatchPtr>(filter_mode::parallel, cut) &
                             tbb::make_filter<BatchPtr, BatchPtr>(filter_mode::serial_in_order, plan_frames) &
                             tbb::make_filter<BatchPtr, BatchPtr>(filter_mode::parallel, encode) &
                             tbb::make_filter<BatchPtr, void>(filter_mode::serial_in_order, store));
}

}  // namespace

void pack_plan(const Plan& plan, const Layout& layout, Source& source, Packer& packer,
               const RepositoryParameters& parameters, Progress& progress, const SeeWindow& see) {
  progress.begin("packing", bytes_of(plan));
  pack_parts(plan.parts, layout, source, packer, parameters, true, progress, see);
  progress.end();
  for (int round = 1; packer.has_put_off(); ++round) {
    progress.begin("waiting for other writers", 0);
    const Plan rest{packer.take_put_off(), 0, {}};
    progress.end();
    progress.begin("packing what was left to others", bytes_of(rest));
    pack_parts(rest.parts, layout, source, packer, parameters, round < kPutOffRounds, progress,
               [](const Window&) {});
    progress.end();
  }
}

void cut_plan(const Plan& plan, Source& source, const RepositoryParameters& parameters,
              std::string_view stage, Progress& progress, const SeeWindow& see) {
  BufferPool buffers(kWindowBytesMax);
  progress.begin(stage, bytes_of(plan));
  for (std::span<const Part> rest(plan.parts); !rest.empty();) {
    const std::size_t count = next_window(rest);
    Window window = read_window(source, rest.first(count), buffers);
    cut_window(window, parameters);
    see(window);
    progress.advance(window.content.size());
    rest = rest.subspan(count);
  }
  progress.end();
}

void count_classes(const Window& window, std::array<ClassStatistics, kObjectClassCount>& classes) {
  for (const CutObject& object : window.objects) {
    if (object.zero || object.slack) continue;
    ClassStatistics& statistics = classes[static_cast<std::size_t>(window.parts[object.part].object_class)];
    ++statistics.objects;
    statistics.bytes += object.bytes;
  }
}

}  // namespace vmpack
