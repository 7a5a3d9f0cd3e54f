// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/writer_session.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "libvmpack/base/error.hpp"
#include "libvmpack/repo/condemned.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/file_table.hpp"
#include "libvmpack/snapshot/places.hpp"

namespace vmpack {
namespace {

/// nullopt for one that is damaged, too: such a one may be replaced.
std::optional<ReferenceEntry> readable_entry(const Repository& repository, const ReferenceName& name) {
  try {
    return repository.find(name);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kDamaged) throw;
    return std::nullopt;
  }
}

}  // namespace

std::vector<std::string> keys_under(const Repository& repository, const SnapshotDigest& snapshot) {
  const Manifest manifest = repository.manifest(snapshot);
  std::vector<std::string> keys{manifest_key(snapshot), places_key(snapshot), map_key(manifest.map)};
  if (const auto files = file_table_of(repository, snapshot, manifest))
    keys.push_back(file_table_key(*files));
  for (const PackDigest& pack : Places::open(repository.store(), snapshot)->packs())
    keys.push_back(pack_key(pack));
  return keys;
}

WriterSession::WriterSession(const Repository& repository, bool keeps_itself)
    : repository_(repository),
      lease_(Lease::take(repository.store(), LeaseKind::kWriter, keeps_itself)),
      condemned_(read_condemned(repository.store()).keys()) {
  for (const std::string& key : condemned_) {
    if (const auto pack = pack_of_key(key)) condemned_packs_.insert(*pack);
  }
}

void WriterSession::confirm(std::span<const std::string> keys, bool lease_holds) const {
  Store& store = repository_.store();
  const Condemned now = read_condemned(store);
  const auto marked = now.keys();
  const auto going = now.being_deleted();
  const auto gone = [&](const std::string& key) {
    return Error(
        ErrorCode::kIo,
        fmt::format("{}/{} is needed, and was collected as garbage at the same time", store.location(), key),
        "run the command again when 'vmpack gc' has ended");
  };
  // While the lease holds, nothing is deleted that was marked since it began.
  bool in_doubt = !lease_holds;
  for (const std::string& key : keys) {
    if (going.contains(key)) throw gone(key);
    in_doubt = in_doubt || condemned_.contains(key) || marked.contains(key);
  }
  if (!in_doubt) return;
  for (const std::string& key : keys) {
    if (!store.stat(key)) throw gone(key);
  }
}

void WriterSession::commit(const ReferenceName& name, const SnapshotDigest& snapshot, bool force) const {
  const auto before = readable_entry(repository_, name);
  // The lease keeps the snapshot until the reference does: whoever is killed in between leaves no reference
  // to what was collected.
  const bool kept = lease_->keep(snapshot);
  confirm(keys_under(repository_, snapshot), kept);
  repository_.set_reference(name, snapshot, force);
  if (!lease_->is_over()) return;
  try {
    confirm(keys_under(repository_, snapshot));
  } catch (const Error&) {
    if (before) {
      repository_.set_reference(name, before->snapshot, true);
    } else {
      repository_.remove_reference(name);
    }
    throw;
  }
}

}  // namespace vmpack
