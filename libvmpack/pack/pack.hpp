// SPDX-License-Identifier: Apache-2.0
// Packs: immutable files of frames with tables that describe them. Format: formats/pack.md.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/digest.hpp"
#include "libvmpack/pack/frame.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// An object's identity and length.
struct ObjectRecord {
  ObjectDigest digest;
  std::uint32_t bytes = 0;
};

/// Where a frame lies now.
struct FrameLocation {
  PackDigest pack;
  std::uint64_t offset = 0;
  std::uint32_t stored_bytes = 0;

  friend bool operator==(const FrameLocation&, const FrameLocation&) = default;
};

/// "packs/ab/ab12….pack".
[[nodiscard]] std::string pack_key(const PackDigest& pack);
/// nullopt for a key that is no pack's.
[[nodiscard]] std::optional<PackDigest> pack_of_key(std::string_view key);

/// Writes one pack into a store frame by frame. Not for use by two threads at once. Nothing is left of a pack
/// that is not finished.
class PackBuilder {
 public:
  /// `store` must outlive this.
  explicit PackBuilder(Store& store);

  /// Takes the frame; returns its offset in the pack to be. `objects` in the frame's order, as many as it
  /// says.
  std::uint64_t add(EncodedFrame frame, std::span<const ObjectRecord> objects);

  /// Size that the frames have so far.
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

  /// Gives the pack its name, durable on return; nothing happens when the very same pack is there. Once, and
  /// last. kIo when such a pack was there, and has been removed meanwhile.
  PackDigest finish();
  /// After finish(): whether this wrote the pack, and not somebody before.
  [[nodiscard]] bool is_own() const { return is_own_; }

 private:
  struct FrameFacts {
    EncodedFrame frame;  // without what is stored
    std::uint32_t stored_bytes = 0;
  };
  void write_waiting();

  Store& store_;
  std::unique_ptr<StoreDraft> draft_;
  std::vector<Bytes> waiting_;  // the frames that are not in draft_ yet
  std::size_t waiting_bytes_ = 0;
  std::vector<FrameFacts> frames_;
  std::vector<ObjectRecord> objects_;
  std::uint64_t bytes_ = 0;
  bool finished_ = false;
  bool is_own_ = false;
};

/// A frame as a pack's tables tell it.
struct PackFrame {
  FrameDigest digest;
  std::uint64_t offset = 0;
  std::uint32_t stored_bytes = 0;
  std::uint32_t raw_bytes = 0;
  std::uint32_t first_object = 0;
  std::uint32_t object_count = 0;
  ObjectClass object_class = ObjectClass::kOpaque;
  std::vector<FrameDigest> bases;  ///< of a delta frame
};

struct PackTables {
  std::vector<PackFrame> frames;      ///< contiguous, in order of offset
  std::vector<ObjectRecord> objects;  ///< in frame order
};

/// Reads and checks head, trailer and both tables of a pack (but no frame). Throws kDamaged, kUnsupported,
/// kLimit, kNotFound.
[[nodiscard]] PackTables read_pack_tables(Store& store, const PackDigest& pack);

/// Reads a frame and checks it. Errors name pack and offset. `read_base` as for decode_frame().
[[nodiscard]] FramePtr read_frame(Store& store, const FrameDigest& digest, const FrameLocation& location,
                                  const BaseReader& read_base = {});

/// Throws kDamaged, naming `where`, unless the frame holds exactly these objects, each with its digest.
void check_objects(const DecodedFrame& frame, std::uint32_t raw_bytes, std::span<const ObjectRecord> objects,
                   std::string_view where);

/// Byte offsets of objects in their decoded frame, from their lengths.
[[nodiscard]] std::uint64_t next_object_offset(std::uint64_t offset, std::uint64_t bytes);

}  // namespace vmpack
