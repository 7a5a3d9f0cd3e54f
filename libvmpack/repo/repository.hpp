// SPDX-License-Identifier: Apache-2.0
// The repository: its parameters, its references and its snapshots, on a store.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/repo/reference.hpp"
#include "libvmpack/snapshot/manifest.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// What vmpack.json fixes for the life of a repository.
struct RepositoryParameters {
  std::uint32_t whole_file_bytes_max = 128 * 1024;  ///< a file up to this size is one object
  std::uint32_t cut_bytes_min = 16 * 1024;          ///< content-defined cutting of larger ones
  std::uint32_t cut_bytes_target = 64 * 1024;
  std::uint32_t cut_bytes_max = 256 * 1024;
  std::uint32_t frame_bytes_target = 256 * 1024;  ///< of objects, before compression
  std::uint32_t pack_bytes_target = 64 * 1024 * 1024;
};

/// Where a reference points, and how often it has been moved.
struct ReferenceEntry {
  ReferenceName name;
  SnapshotDigest snapshot;
  std::uint64_t sequence = 0;
  std::int64_t modified_seconds = 0;
};

/// A snapshot that was once committed under a name, and when.
struct NamedSnapshot {
  SnapshotDigest snapshot;
  std::int64_t seconds = 0;  ///< since 1970, by the store's clock
};

/// An open repository. Methods may be called from any thread; nothing is cached, so that other processes'
/// changes show.
class Repository {
 public:
  /// Writes vmpack.json into an empty store. kAlreadyExists when a repository is there, kRefused when other
  /// files are.
  static void init(Store& store, const RepositoryParameters& parameters);

  /// kNotFound when it is not a repository, kUnsupported for a later version or an unknown required feature.
  static std::shared_ptr<Repository> open(std::shared_ptr<Store> store);

  [[nodiscard]] Store& store() const { return *store_; }
  [[nodiscard]] const RepositoryParameters& parameters() const { return parameters_; }
  [[nodiscard]] const std::string& id() const { return id_; }

  /// All references, sorted by name, then tag. A damaged one is left out and, with `damaged`, its key is
  /// told.
  [[nodiscard]] std::vector<ReferenceEntry> references(std::vector<std::string>* damaged = nullptr) const;

  /// The entry of `name:tag`, or nullopt. Throws kDamaged.
  [[nodiscard]] std::optional<ReferenceEntry> find(const ReferenceName& name) const;

  /// What a user's text names: `name`, `name:tag` or `name@<digest prefix>` (at least 4 digits, unambiguous
  /// among the snapshots that were ever committed as `name`). Throws kInvalid, kNotFound.
  [[nodiscard]] SnapshotDigest resolve(std::string_view text) const;

  /// Points `name` at `snapshot`, durable. Without `force` kAlreadyExists when it points elsewhere already.
  void set_reference(const ReferenceName& name, const SnapshotDigest& snapshot, bool force) const;

  /// Takes the reference away, durable, and returns what it was; its snapshot stays. Set again, it goes on in
  /// its sequence. kNotFound when there is none.
  ReferenceEntry remove_reference(const ReferenceName& name) const;

  /// Every snapshot in the store that was ever committed as `name`, with or without a reference now, sorted.
  [[nodiscard]] std::vector<NamedSnapshot> committed_as(std::string_view name) const;
  /// When the snapshot came into the store, seconds since 1970. Throws kNotFound.
  [[nodiscard]] std::int64_t stored_seconds(const SnapshotDigest& snapshot) const;

  /// All snapshots in the store, sorted.
  [[nodiscard]] std::vector<SnapshotDigest> snapshots() const;

  /// Reads and checks a manifest.
  [[nodiscard]] Manifest manifest(const SnapshotDigest& snapshot) const;

  /// The JSON text of a note, or nullopt. `kind` is a path below the snapshot's notes, as in "os/facts".
  /// Throws kDamaged.
  [[nodiscard]] std::optional<std::string> note(const SnapshotDigest& snapshot, std::string_view kind) const;
  /// Writes a note, replacing an older one. `object_text` is a JSON object.
  void put_note(const SnapshotDigest& snapshot, std::string_view kind, std::string_view object_text) const;

 private:
  Repository(std::shared_ptr<Store> store, RepositoryParameters parameters, std::string id);

  std::shared_ptr<Store> store_;
  RepositoryParameters parameters_;
  std::string id_;
};

}  // namespace vmpack
