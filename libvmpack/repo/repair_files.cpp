// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/repo/repair_files.hpp"

#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/base/sealed_json.hpp"
#include "libvmpack/repo/copy_plan.hpp"
#include "libvmpack/repo/snapshot_files.hpp"
#include "libvmpack/snapshot/block_map.hpp"
#include "libvmpack/snapshot/file_table.hpp"

namespace vmpack {
namespace {

class SmallFiles {
 public:
  SmallFiles(const Repository& repository, const Repository* from, bool dry_run,
             const std::set<std::string>& damaged, std::set<std::string>& mended)
      : repository_(repository),
        store_(repository.store()),
        from_(from),
        dry_run_(dry_run),
        damaged_(damaged),
        mended_(mended) {}

  void run() {
    mend_named_files();
    mend_notes();
  }

 private:
  /// Manifests first: they name the others.
  void mend_named_files() {
    std::vector<std::string> manifests;
    for (const ReferenceEntry& entry : repository_.references()) {
      const std::string key = manifest_key(entry.snapshot);
      if (!store_.stat(key)) manifests.push_back(key);
    }
    for (const std::string& key : damaged_) {
      if (key.starts_with("snapshots/")) manifests.push_back(key);
    }
    for (const std::string& key : manifests) mend_named_file(key, limits::kJsonBytesMax);
    for (const SnapshotDigest& snapshot : repository_.snapshots()) mend_roots(snapshot);
  }

  void mend_roots(const SnapshotDigest& snapshot) {
    try {
      const Manifest manifest = repository_.manifest(snapshot);
      mend_if_needed(map_key(manifest.map), limits::kMapRootBytesMax);
      if (const auto files = file_table_of(repository_, snapshot, manifest))
        mend_if_needed(file_table_key(*files), limits::kFileTableRootBytesMax);
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo) throw;  // otherwise its manifest could not be mended
    }
  }

  void mend_if_needed(const std::string& key, std::uint64_t bytes_max) {
    if (damaged_.contains(key) || !store_.stat(key)) mend_named_file(key, bytes_max);
  }

  void mend_named_file(const std::string& key, std::uint64_t bytes_max) {
    const auto digest = digest_of_key(key);
    if (!from_ || !digest || is_intact(key, bytes_max, *digest)) return;
    try {
      replace(key, get_named(from_->store(), key, bytes_max, *digest));
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo) throw;  // otherwise it is not there either
    }
  }

  /// What verify tells of a block map may be wrong with the places.
  bool is_intact(const std::string& key, std::uint64_t bytes_max, const Digest& digest) const {
    try {
      static_cast<void>(get_named(store_, key, bytes_max, digest));
      return true;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kIo) throw;
      return false;
    }
  }

  void mend_notes() {
    for (const std::string& key : damaged_) {
      if (!from_ || !key.starts_with("notes/")) continue;
      try {
        const Bytes note = from_->store().get(key, limits::kJsonBytesMax);
        check_sealed_json(as_text(note), key);
        replace(key, note);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::kIo) throw;
      }
    }
  }

  /// What was there is damaged: that it is gone for a moment loses nothing.
  void replace(const std::string& key, const Bytes& bytes) {
    if (!dry_run_) {
      store_.remove(key);
      store_.put_if_absent(key, bytes);
    }
    mended_.insert(key);
  }

  const Repository& repository_;
  Store& store_;
  const Repository* from_;
  bool dry_run_;
  const std::set<std::string>& damaged_;
  std::set<std::string>& mended_;
};

}  // namespace

std::optional<Digest> digest_of_key(std::string_view key) {
  const auto dot = key.rfind('.');
  const auto slash = key.rfind('/');
  if (dot == std::string_view::npos || slash == std::string_view::npos || dot < slash) return std::nullopt;
  return Digest::from_hex(key.substr(slash + 1, dot - slash - 1));
}

void mend_small_files(const Repository& repository, const Repository* from, bool dry_run,
                      const std::set<std::string>& damaged, std::set<std::string>& mended) {
  SmallFiles(repository, from, dry_run, damaged, mended).run();
}

}  // namespace vmpack
