// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/ingest/compare.hpp"

#include <tbb/parallel_for.h>

#include <algorithm>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/partition/plan.hpp"

namespace vmpack {
namespace {

/// What is compared at once; a multiple of a block.
constexpr std::uint64_t kJobBytesMax = 1 * kMiB;

std::vector<ByteRange> split_into_jobs(std::span<const ByteRange> ranges) {
  std::vector<ByteRange> jobs;
  for (ByteRange range : ranges) {
    while (range.length > 0) {
      const std::uint64_t length = std::min(range.length, kJobBytesMax - range.offset % kJobBytesMax);
      jobs.push_back({range.offset, length});
      range = {range.offset + length, range.length - length};
    }
  }
  return jobs;
}

/// What of `ranges` may hold something else than zeros.
std::vector<ByteRange> data_in(Source& source, std::span<const ByteRange> ranges) {
  std::vector<ByteRange> data;
  for (const ByteRange& range : ranges) {
    if (range.offset >= source.size()) break;
    const std::uint64_t length = std::min(range.length, source.size() - range.offset);
    std::ranges::move(source.data_ranges(range.offset, length), std::back_inserter(data));
  }
  return data;
}

void add(std::vector<ByteRange>& ranges, std::uint64_t offset, std::uint64_t length) {
  if (!ranges.empty() && ranges.back().end() == offset) {
    ranges.back().length += length;
  } else {
    ranges.push_back({offset, length});
  }
}

/// `was_zero`: all of it, so that nothing needs to be read of `before`.
Difference compare_job(Source& image, Source& before, ByteRange job, bool was_zero) {
  static thread_local Bytes memory(2 * kJobBytesMax);
  const ByteSpan now = ByteSpan(memory).first(job.length);
  const ByteSpan then = ByteSpan(memory).subspan(kJobBytesMax, job.length);
  image.read(job.offset, now);
  if (!was_zero) {
    const std::uint64_t there = std::min(job.end(), before.size()) - job.offset;
    before.read(job.offset, then.first(there));
    std::ranges::fill(then.subspan(there), std::byte{0});
  }
  Difference difference;
  for (std::uint64_t at = 0; at < job.length;) {
    const std::uint64_t length = std::min(job.length - at, kBlockBytes - (job.offset + at) % kBlockBytes);
    const ByteView block = now.subspan(at, length);
    const bool is_zero_now = is_zero(block);
    const bool differs =
        was_zero ? !is_zero_now : !std::ranges::equal(block, ByteView(then).subspan(at, length));
    if (differs) add(is_zero_now ? difference.zeroed : difference.data, job.offset + at, length);
    at += length;
  }
  return difference;
}

}  // namespace

Difference compare(Source& image, Source& before, std::span<const ByteRange> ranges, Progress& progress) {
  const std::vector<ByteRange> data = intersect(image.data_ranges(0, image.size()), ranges);
  const std::vector<ByteRange> data_before = data_in(before, ranges);
  const std::vector<ByteRange> jobs = split_into_jobs(data);
  std::vector<Difference> found(jobs.size());
  progress.begin("comparing", total_bytes(data));
  tbb::parallel_for(std::size_t{0}, jobs.size(), [&](std::size_t i) {
    found[i] = compare_job(image, before, jobs[i], !touches(data_before, jobs[i]));
    progress.advance(jobs[i].length);
  });
  progress.end();
  Difference all;
  all.zeroed = intersect(without(ranges, data), data_before);
  for (const Difference& each : found) {
    all.data.insert(all.data.end(), each.data.begin(), each.data.end());
    all.zeroed.insert(all.zeroed.end(), each.zeroed.begin(), each.zeroed.end());
  }
  sort_and_join(all.data);
  sort_and_join(all.zeroed);
  return all;
}

}  // namespace vmpack
