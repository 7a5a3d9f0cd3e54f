// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/inspect.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <span>
#include <string_view>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/inspect/inspect_child.hpp"
#include "libvmpack/inspect/opaque.hpp"
#include "libvmpack/source/sandbox.hpp"

namespace vmpack {
namespace {

/// Everything as one opaque volume.
Layout opaque_layout(std::uint64_t image_bytes, std::string warning) {
  Layout layout;
  layout.image_bytes = image_bytes;
  layout.volumes.push_back({.range = {0, image_bytes}, .warning = std::move(warning)});
  return layout;
}

/// The partitions, or one volume for everything; nothing is known about what is inside yet.
Layout read_table(InspectChild& child, std::uint64_t image_bytes, Progress& progress) {
  ChildReport report = child.next(LayoutStreamReader::Expect::kTable, {0, image_bytes});
  if (!report.failure.empty()) {
    return opaque_layout(image_bytes, fmt::format("its partition table cannot be read: {}", report.failure));
  }
  if (!report.warning.empty()) progress.warn(report.warning);
  if (report.layout.volumes.empty()) return opaque_layout(image_bytes, {});
  report.layout.image_bytes = image_bytes;
  return std::move(report.layout);
}

/// Fills in what a look inside tells. False when that failed.
bool look_inside(InspectChild& child, Volume& volume) {
  ChildReport report = child.next(LayoutStreamReader::Expect::kVolume, volume.range);
  if (!report.failure.empty()) {
    volume.warning = std::move(report.failure);
    return false;
  }
  take_findings(volume, std::move(report.layout.volumes.front()));
  return true;
}

Layout inspect_in_child(Source& source, const InspectOptions& options, Progress& progress) {
  const std::string helper = find_helper("vmpack-inspect-helper");
  auto child = InspectChild::for_image(helper, source, options);
  Layout layout = read_table(*child, source.size(), progress);
  if (!layout.volumes.front().warning.empty()) return layout;
  const std::span volumes(layout.volumes);
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    // One child does it all, unless a volume is its end: then another one goes on behind that.
    if (child == nullptr) child = InspectChild::for_volumes(helper, source, volumes.subspan(i), options);
    if (!look_inside(*child, volumes[i])) child.reset();
  }
  return layout;
}

/// False as well where a long look shows zeros only.
bool holds_data(Source& source, ByteRange range) {
  constexpr std::uint64_t kLookedAtBytesMax = 256 * kMiB;
  Bytes buffer(1 * kMiB);
  std::uint64_t looked_at = 0;
  for (const ByteRange& data : source.data_ranges(range.offset, range.length)) {
    for (std::uint64_t at = data.offset; at < data.end(); at += buffer.size()) {
      const ByteSpan part = ByteSpan(buffer).first(std::min<std::uint64_t>(buffer.size(), data.end() - at));
      source.read(at, part);
      if (!is_zero(part)) return true;
      looked_at += part.size();
      if (looked_at >= kLookedAtBytesMax) return false;
    }
  }
  return false;
}

/// Says of every volume that stays opaque what is lost by it.
void warn_of_opaque(Source& source, Layout& layout) {
  for (Volume& volume : layout.volumes) {
    if (volume.inspected || !volume.warning.empty()) continue;
    std::string warning = opaque_warning(volume);
    if (!warning.empty() && holds_data(source, volume.range)) volume.warning = std::move(warning);
  }
}

}  // namespace

Layout inspect(Source& source, const InspectOptions& options, Progress& progress) {
  if (source.size() == 0) return {};
  // An image that cannot be read at all is an error, not a layout.
  std::array<std::byte, kSectorBytes> first_sector;
  source.read(0, first_sector);

  Layout layout;
  try {
    layout = inspect_in_child(source, options, progress);
    warn_of_opaque(source, layout);
  } catch (const Error& error) {
    layout = opaque_layout(source.size(), error.what());
  }
  for (const Volume& volume : layout.volumes) {
    if (!volume.warning.empty()) progress.warn(fmt::format("{}: {}", name_of(volume), volume.warning));
  }
  return layout;
}

std::uint64_t sector_bytes_of(Source& source) {
  constexpr std::uint64_t kLargeSectorBytes = 4096;
  constexpr std::string_view kGptSignature = "EFI PART";  // in the second sector
  const auto has_table = [&](std::uint64_t sector_bytes) {
    std::array<std::byte, kGptSignature.size()> found;
    if (source.size() < 2 * sector_bytes) return false;
    source.read(sector_bytes, found);
    return as_text(found) == kGptSignature;
  };
  const bool large =
      source.size() % kLargeSectorBytes == 0 && !has_table(kSectorBytes) && has_table(kLargeSectorBytes);
  return large ? kLargeSectorBytes : kSectorBytes;
}

}  // namespace vmpack
