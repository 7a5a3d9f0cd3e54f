// SPDX-License-Identifier: Apache-2.0
// One file of the object index, for reading. Format: formats/object_index.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libvmpack/base/digest.hpp"
#include "libvmpack/base/mapped_file.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/object_filter.hpp"
#include "libvmpack/snapshot/places.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// "index/<digest>.idx".
[[nodiscard]] std::string index_key(const Digest& index);
/// The keys of all index files in the store, sorted.
[[nodiscard]] std::vector<std::string> list_index_files(Store& store);

/// Where an object is.
struct ObjectLocation {
  FrameDigest frame;
  FrameLocation location;
  std::uint32_t offset = 0;  ///< in the decoded frame
  std::uint32_t bytes = 0;
  std::vector<FramePlace> bases;  ///< of a delta frame
};

/// A frame as an index file lists it, and what it stands on.
struct IndexedFrame {
  FramePlace place;
  std::vector<FramePlace> bases;
};

/// An object as an index file lists it.
struct IndexedObject {
  ObjectDigest digest;
  std::uint32_t frame = 0;   ///< among the frames of its file
  std::uint32_t offset = 0;  ///< in the decoded frame
  std::uint32_t bytes = 0;
};

/// Any thread. Of the file's body only what is asked for is read.
class ObjectIndexFile {
 public:
  /// Checks envelope and header. The store's local file, or where it has none, one that is fetched for as
  /// long as this lives. Throws kNotFound, kDamaged, kUnsupported, kLimit.
  static std::unique_ptr<ObjectIndexFile> open(Store& store, const std::string& key);
  /// The same for a file that is mapped already. `name` is for errors.
  static std::unique_ptr<ObjectIndexFile> open(MappedFile file, std::string name);
  ~ObjectIndexFile();
  ObjectIndexFile(const ObjectIndexFile&) = delete;
  ObjectIndexFile& operator=(const ObjectIndexFile&) = delete;

  /// This and all below throw kDamaged when a block that they need has a wrong checksum: a wrong answer
  /// would corrupt a snapshot.
  [[nodiscard]] std::optional<ObjectLocation> find(const ObjectDigest& object) const;
  /// Of all objects, as long as this lives.
  [[nodiscard]] const ObjectFilter& filter() const;

  [[nodiscard]] std::uint64_t frame_count() const;
  [[nodiscard]] std::uint64_t object_count() const;
  [[nodiscard]] IndexedFrame frame(std::uint32_t number) const;
  /// In order of digest.
  [[nodiscard]] IndexedObject object(std::uint64_t number) const;
  /// Calls for every object, in order of digest.
  void for_each(const std::function<void(const ObjectDigest&, const ObjectLocation&)>& each) const;

  /// Bytes of the body.
  [[nodiscard]] std::uint64_t body_bytes() const;
  /// Gives back the memory that what was read of the body takes.
  void release() const noexcept;
  /// SHA-256 of the whole file, for comparison with its name.
  [[nodiscard]] Digest digest() const;

 private:
  struct State;
  explicit ObjectIndexFile(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace vmpack
