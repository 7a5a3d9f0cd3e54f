// SPDX-License-Identifier: Apache-2.0
// The object index: which frame holds an object. Needed only while ingesting; can be rebuilt from the packs.
// Format: formats/object_index.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/snapshot/places.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// Where an object is.
struct ObjectLocation {
  FrameDigest frame;
  FrameLocation location;
  std::uint32_t offset = 0;  ///< in the decoded frame
  std::uint32_t bytes = 0;
  std::vector<FramePlace> bases;  ///< of a delta frame
};

/// "index/<digest>.idx".
[[nodiscard]] std::string index_key(const Digest& index);

/// Collects what an ingest adds. Not for use by two threads at once.
class ObjectIndexBuilder {
 public:
  /// Frames of a pack that was written, in their order, with the objects in each.
  void add_pack(const PackDigest& pack);
  /// A frame of the pack added last, and what it stands on.
  void add_frame(const FrameDigest& frame, std::uint64_t offset, std::uint32_t stored_bytes,
                 std::span<const ObjectRecord> objects, std::span<const FramePlace> bases);
  [[nodiscard]] bool empty() const { return objects_.empty(); }

  /// Writes the index file, durable on return.
  void write(Store& store);

 private:
  struct Frame {
    FrameDigest digest;
    std::uint64_t offset;
    std::uint32_t stored_bytes;
    std::uint32_t pack;
  };
  struct Object {
    ObjectDigest digest;
    std::uint32_t frame;
    std::uint32_t offset;
    std::uint32_t bytes;
  };
  struct Base {
    std::uint32_t frame;
    FramePlace place;
  };
  std::vector<PackDigest> packs_;
  std::vector<Frame> frames_;
  std::vector<Object> objects_;
  std::vector<Base> bases_;
};

/// One index file, mapped where the store has it as a local file. Any thread.
class ObjectIndexFile {
 public:
  /// Checks envelope and header. Throws kDamaged, kUnsupported, kLimit.
  static std::unique_ptr<ObjectIndexFile> open(Store& store, const std::string& key);
  ~ObjectIndexFile();
  ObjectIndexFile(const ObjectIndexFile&) = delete;
  ObjectIndexFile& operator=(const ObjectIndexFile&) = delete;

  /// Throws kDamaged when a block that it needs has a wrong checksum: a wrong answer would corrupt a
  /// snapshot.
  [[nodiscard]] std::optional<ObjectLocation> find(const ObjectDigest& object) const;
  [[nodiscard]] std::uint64_t object_count() const;
  /// Calls for every object, in order of digest. Throws kDamaged.
  void for_each(const std::function<void(const ObjectDigest&, const ObjectLocation&)>& each) const;
  /// SHA-256 of the whole file, for comparison with its name.
  [[nodiscard]] Digest digest() const;

 private:
  struct State;
  explicit ObjectIndexFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// All index files of a repository as they were when opened. Any thread.
class ObjectIndex {
 public:
  static std::unique_ptr<ObjectIndex> open(Store& store);
  [[nodiscard]] std::optional<ObjectLocation> find(const ObjectDigest& object) const;
  [[nodiscard]] std::uint64_t object_count() const;

 private:
  std::vector<std::unique_ptr<ObjectIndexFile>> files_;
};

}  // namespace vmpack
