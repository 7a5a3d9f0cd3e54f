// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/appliance_volumes.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "libvmpack/base/byte_ranges.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/inspect/layout_stream.hpp"
#include "libvmpack/inspect/opaque.hpp"

namespace vmpack {
namespace {

using appliance_wire::LogicalVolume;
using appliance_wire::PhysicalVolume;
using appliance_wire::VolumesReport;

constexpr std::string_view kLvmMember = "LVM2_member";
constexpr std::array<std::string_view, 2> kFileSystems = {"btrfs", "xfs"};

bool is_lvm(const Volume& volume) { return volume.type == kLvmMember; }

[[noreturn]] void nonsense(std::string_view what) {
  throw Error(ErrorCode::kDamaged, fmt::format("the appliance answered nonsense ({})", what));
}

/// Reads one stream after the other off the report file.
class ReportReader {
 public:
  explicit ReportReader(int file) : file_(file) {}

  /// The next volume's stream, all of whose ranges must lie in `range`. Throws Error, and then for good.
  Volume next(ByteRange range) {
    if (!failure_.empty()) throw Error(ErrorCode::kDamaged, failure_);
    try {
      LayoutStreamReader reader(LayoutStreamReader::Expect::kVolume, range);
      while (!reader.ended()) {
        if (unread_.empty()) fill();
        unread_ = unread_.subspan(reader.feed(unread_));
      }
      return std::move(reader.take().volumes.front());
    } catch (const Error& error) {
      failure_ = error.what();
      throw;
    }
  }

 private:
  void fill() {
    const std::uint64_t left =
        appliance_wire::kReportBytesMax - std::min(at_, appliance_wire::kReportBytesMax);
    const ByteSpan into = ByteSpan(buffer_).first(std::min<std::uint64_t>(buffer_.size(), left));
    const std::size_t got = read_at(file_, into, at_, "the appliance's report");
    if (got == 0) nonsense("its report ends too early");
    at_ += got;
    unread_ = ByteView(buffer_).first(got);
  }

  int file_;
  std::uint64_t at_ = 0;
  Bytes buffer_ = Bytes(256 * kKiB);
  ByteView unread_;  ///< in buffer_
  std::string failure_;
};

constexpr std::string_view kCutByContent = "so it is cut by content alone";

std::string what_is_lost(const Volume& volume, std::string_view why) {
  return fmt::format("its {} file system cannot be read: {}, {}",
                     volume.type.empty() ? "unknown" : volume.type, why, kCutByContent);
}

/// Files and free space of a logical volume must be in its own pieces: others lie between them.
bool keeps_to_its_pieces(const Volume& volume) {
  std::vector<ByteRange> own = volume.pieces;
  sort_and_join(own);
  const auto inside = [&own](const ByteRange& range) { return lies_within(own, range.offset, range.length); };
  return std::ranges::all_of(volume.free, inside) &&
         std::ranges::all_of(volume.files, [&](const FileEntry& file) {
           return std::ranges::all_of(file.extents, [&](const FileExtent& extent) {
             return inside({extent.disk_offset, extent.length});
           });
         });
}

/// Sorts ranges of several owners into one list. False, and `taken` as it was, where one has what another
/// has.
bool take_pieces(const std::vector<ByteRange>& pieces, std::vector<ByteRange>& taken) {
  std::vector<ByteRange> all = taken;
  all.insert(all.end(), pieces.begin(), pieces.end());
  std::ranges::sort(all, {}, &ByteRange::offset);
  for (std::size_t i = 1; i < all.size(); ++i) {
    if (all[i].offset < all[i - 1].end()) return false;
  }
  taken = std::move(all);
  return true;
}

ByteRange hull(const std::vector<ByteRange>& pieces) {
  const auto [first, last] = std::ranges::minmax(pieces, {}, &ByteRange::offset);
  return {first.offset, last.end() - first.offset};
}

/// Fills in one layout after the other: what could be read at once, what not with a warning.
class Completion {
 public:
  Completion(Layout& layout, const VolumesReport& report, int file, Progress& progress)
      : layout_(layout), report_(report), reader_(file), progress_(progress) {}

  void run() {
    for (Volume& volume : layout_.volumes) {
      if (is_lvm(volume)) {
        lvm_ranges_.push_back(volume.range);
      } else if (needs_appliance(volume)) {
        read_partition(volume);
      }
    }
    if (lvm_ranges_.empty()) return;
    for (const LogicalVolume& found : report_.logical_volumes) {
      if (layout_.volumes.size() < limits::kVolumesMax) read_logical_volume(found);
    }
    for (Volume& volume : layout_.volumes) {
      if (is_lvm(volume)) account(volume);
    }
  }

 private:
  void warn(const Volume& volume) { progress_.warn(fmt::format("{}: {}", name_of(volume), volume.warning)); }

  void read_partition(Volume& volume) {
    try {
      Volume found = reader_.next(volume.range);
      const bool same = found.pieces.size() == 1 && found.pieces.front().offset == volume.range.offset;
      if (!same && found.inspected) nonsense("it is about another partition");
      settle(volume, std::move(found));
    } catch (const Error& error) {
      volume.warning = what_is_lost(volume, error.what());
    }
    if (!volume.warning.empty()) warn(volume);
  }

  /// Takes over what was found, and says what is lost where that is nothing.
  static void settle(Volume& volume, Volume found) {
    take_findings(volume, std::move(found));
    if (volume.inspected) return;
    volume.warning = volume.warning.empty() ? opaque_warning(volume)
                                            : fmt::format("{}, {}", volume.warning, kCutByContent);
  }

  void read_logical_volume(const LogicalVolume& told) {
    Volume volume;
    volume.name = printable(told.name);
    volume.type = printable(told.type);
    try {
      if (!told.problem.empty()) throw Error(ErrorCode::kUnsupported, printable(told.problem));
      Volume found = reader_.next({0, layout_.image_bytes});
      if (found.inspected || !found.pieces.empty()) place(volume, found.pieces);
      settle(volume, std::move(found));
      if (!keeps_to_its_pieces(volume)) {
        volume.inspected = false;
        volume.files.clear();
        volume.free.clear();
        nonsense("files outside their volume");
      }
    } catch (const Error& error) {
      volume.warning = what_is_lost(volume, error.what());
    }
    if (!volume.warning.empty()) warn(volume);
    if (!volume.pieces.empty()) layout_.volumes.push_back(std::move(volume));
  }

  void place(Volume& volume, const std::vector<ByteRange>& pieces) {
    const bool in_lvm = std::ranges::all_of(pieces, [this](const ByteRange& piece) {
      return lies_within(lvm_ranges_, piece.offset, piece.length);
    });
    if (pieces.empty() || !in_lvm || !take_pieces(pieces, taken_))
      nonsense("a logical volume where none can be");
    volume.pieces = pieces;
    volume.range = hull(pieces);
  }

  /// A physical volume whose bytes in use are all known to be of some logical volume has nothing in the rest
  /// of them.
  void account(Volume& volume) {
    const auto told = std::ranges::find(report_.physical_volumes, volume.number, &PhysicalVolume::number);
    if (told != report_.physical_volumes.end() &&
        is_inside({0, volume.range.length}, told->data_offset, told->data_bytes)) {
      const ByteRange data{volume.range.offset + told->data_offset, told->data_bytes};
      const std::vector<ByteRange> used = intersect({&data, 1}, taken_);
      if (total_bytes(used) == told->used_bytes) {
        volume.inspected = true;
        volume.free = without({&data, 1}, used);
        return;
      }
    }
    volume.warning =
        fmt::format("what it holds besides known logical volumes is not known, {}", kCutByContent);
    warn(volume);
  }

  Layout& layout_;
  const VolumesReport& report_;
  ReportReader reader_;
  Progress& progress_;
  std::vector<ByteRange> lvm_ranges_;
  std::vector<ByteRange> taken_;  ///< by logical volumes, sorted
};

/// Says once what is lost where nothing could be read at all.
void warn_of_failure(Layout& layout, std::string_view failure, Progress& progress) {
  std::vector<std::string> names;
  for (Volume& volume : layout.volumes) {
    if (!needs_appliance(volume)) continue;
    names.push_back(fmt::format("{} ({})", name_of(volume), volume.type));
    volume.warning = what_is_lost(volume, failure);
  }
  progress.warn(
      fmt::format("{}: cannot be read, so cut by content alone: {}", fmt::join(names, ", "), failure));
}

}  // namespace

bool needs_appliance(const Volume& volume) {
  return !volume.inspected && volume.warning.empty() &&
         (is_lvm(volume) || std::ranges::find(kFileSystems, volume.type) != kFileSystems.end());
}

std::string appliance_request(const Layout& layout) {
  std::string request;
  bool lvm = false;
  for (const Volume& volume : layout.volumes) {
    if (!needs_appliance(volume)) continue;
    lvm = lvm || is_lvm(volume);
    if (!is_lvm(volume)) request += fmt::format("{}\n", volume.number);
  }
  if (lvm) request += fmt::format("{}\n", appliance_wire::kLogicalVolumes);
  return request;
}

void complete_layout(Layout& layout, const VolumesReport& report, int file, Progress& progress) {
  if (report.failure.empty()) {
    Completion(layout, report, file, progress).run();
  } else {
    warn_of_failure(layout, printable(report.failure), progress);
  }
}

}  // namespace vmpack
