// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/copy.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <memory>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/sealed_json.hpp"
#include "libvmpack/repo/arrived_packs.hpp"
#include "libvmpack/repo/frame_mover.hpp"
#include "libvmpack/repo/writer_session.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/places_update.hpp"

namespace vmpack {
namespace {

void require_free_names(const Repository& target, std::span<const CopyItem> items) {
  for (const CopyItem& item : items) {
    const auto entry = target.find(item.name);
    if (!entry || entry->snapshot == item.snapshot) continue;
    throw Error(
        ErrorCode::kAlreadyExists,
        fmt::format("{} points to another snapshot in {}", item.name.text(), target.store().location()),
        "move it with --force, or copy under another name with --as");
  }
}

/// One copy, from the plan to the references.
class Copy {
 public:
  Copy(std::shared_ptr<const Repository> source, LocateFrame locate, const Repository& target,
       std::span<const CopyItem> items, bool dry_run, Progress& progress)
      : source_(std::move(source)),
        target_(target),
        items_(items),
        progress_(progress),
        session_(dry_run ? nullptr : std::make_unique<WriterSession>(target)),
        known_(target.store(), session_ ? session_->condemned_packs() : PackSet{}),
        plan_({source_, std::move(locate),
               [this](const FrameNumbers& wanted, const FoundFrame& found) { known_.find(wanted, found); },
               &target.store()},
              snapshots_of(items)) {}

  [[nodiscard]] const CopyPlan& plan() const { return plan_; }

  std::uint64_t move_frames(std::uint64_t bytes) {
    std::vector<FrameToMove> frames;
    for (const std::uint32_t number : plan_.missing()) {
      frames.push_back({plan_.frames()[number].digest, *plan_.frames()[number].from});
    }
    ArrivedPacks arrived(target_.store(),
                         [this](const FrameDigest& base) { return plan_.frames()[plan_.number(base)].to; });
    std::uint64_t packs = 0;
    FrameMover mover(
        source_->store(), target_.store(), target_.parameters().pack_bytes_target, WholePacks::kKept,
        [this](const FrameDigest& base) { return plan_.read(base); },
        [&](MovedPack pack) {
          ++packs;
          for (const MovedFrame& frame : pack.frames) {
            plan_.set_arrived(plan_.number(frame.digest), {pack.pack, frame.offset, frame.stored_bytes});
          }
          arrived.add(std::move(pack));
        });
    progress_.begin("copying", bytes);
    move_and_keep(mover, frames, arrived);
    progress_.end();
    return packs;
  }

  void commit(bool force) {
    for (std::size_t i = 0; i < plan_.snapshots().size(); ++i) commit_snapshot(i);
    for (const CopyItem& item : items_) session_->commit(item.name, item.snapshot, force);
  }

 private:
  /// What arrived before an error is kept for the next run.
  void move_and_keep(FrameMover& mover, std::span<const FrameToMove> frames, ArrivedPacks& arrived) {
    try {
      mover.move(frames, progress_);
    } catch (const Error&) {
      try {
        mover.finish();
        arrived.write_index();
      } catch (const Error&) {  // the first error tells more
      }
      throw;
    }
    mover.finish();
    arrived.write_index();
  }

  void commit_snapshot(std::size_t position) {
    const PlannedSnapshot& planned = plan_.snapshots()[position];
    Store& store = target_.store();
    copy_named(map_key(planned.manifest.map), limits::kMapRootBytesMax, planned.manifest.map);
    if (planned.files) {
      copy_named(file_table_key(*planned.files), limits::kFileTableRootBytesMax, *planned.files);
    }
    put_places(store, planned.snapshot, plan_.places_of(position));
    copy_named(manifest_key(planned.snapshot), limits::kJsonBytesMax, planned.snapshot);
    copy_notes(planned.snapshot);
  }

  void copy_named(const std::string& key, std::uint64_t bytes_max, const Digest& digest) {
    if (target_.store().stat(key)) return;
    target_.store().put_if_absent(key, get_named(source_->store(), key, bytes_max, digest));
  }

  /// A note that the target has stays as it is there.
  void copy_notes(const SnapshotDigest& snapshot) {
    for_each_note(source_->store(), snapshot, [&](const std::string& key, const Bytes& note) {
      target_.store().put_if_absent(key, note);
    });
  }

  std::shared_ptr<const Repository> source_;
  const Repository& target_;
  std::span<const CopyItem> items_;
  Progress& progress_;
  std::unique_ptr<WriterSession> session_;  // none where nothing is written
  IndexedFrames known_;
  CopyPlan plan_;
};

}  // namespace

CopyReport report_of(const CopyPlan& plan) {
  CopyReport report;
  report.snapshots = plan.snapshots().size();
  report.frames = plan.frames().size();
  for (const PlannedFrame& frame : plan.frames()) {
    const std::uint64_t bytes = (frame.from ? frame.from : frame.to)->stored_bytes;
    report.bytes += bytes;
    if (frame.to) continue;
    ++report.frames_moved;
    report.bytes_moved += bytes;
  }
  return report;
}

void for_each_note(Store& store, const SnapshotDigest& snapshot,
                   const std::function<void(const std::string& key, const Bytes& note)>& each) {
  std::vector<std::string> keys;
  store.list(fmt::format("notes/{}/", snapshot.hex()),
             [&](const std::string& key, std::uint64_t) { keys.push_back(key); });
  for (const std::string& key : keys) {
    const Bytes note = store.get(key, limits::kJsonBytesMax);
    check_sealed_json(as_text(note), key);
    each(key, note);
  }
}

std::vector<SnapshotDigest> snapshots_of(std::span<const CopyItem> items) {
  std::vector<SnapshotDigest> snapshots;
  for (const CopyItem& item : items) {
    if (std::ranges::find(snapshots, item.snapshot) == snapshots.end()) snapshots.push_back(item.snapshot);
  }
  return snapshots;
}

CopyReport copy_snapshots(const std::shared_ptr<const Repository>& source, LocateFrame locate,
                          const Repository& target, std::span<const CopyItem> items,
                          const CopyOptions& options, Progress& progress) {
  if (!options.force) require_free_names(target, items);
  Copy copy(source, std::move(locate), target, items, options.dry_run, progress);
  CopyReport report = report_of(copy.plan());
  if (options.dry_run) return report;
  report.packs_new = copy.move_frames(report.bytes_moved);
  copy.commit(options.force);
  return report;
}

CopyReport copy_snapshots(const std::shared_ptr<const Repository>& source, const Repository& target,
                          std::span<const CopyItem> items, const CopyOptions& options, Progress& progress) {
  return copy_snapshots(source, locate_by_places(source->store(), snapshots_of(items)), target, items,
                        options, progress);
}

}  // namespace vmpack
