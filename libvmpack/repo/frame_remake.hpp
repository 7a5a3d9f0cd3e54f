// SPDX-License-Identifier: Apache-2.0
// Makes a lost frame again, with the very same bytes, from its objects.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "libvmpack/pack/frame.hpp"
#include "libvmpack/pack/pack.hpp"
#include "libvmpack/repo/object_index_file.hpp"
#include "libvmpack/store/store.hpp"

namespace vmpack {

/// A frame that nobody has any more, as its pack's tables describe it.
struct DescribedFrame {
  PackFrame frame;
  FrameLocation location;
  std::vector<ObjectRecord> objects;
};

/// Any thread. What is passed must outlive this.
class FrameRemake {
 public:
  /// Objects are looked for in the index files `index_keys`, but not where `is_bad`. Throws as opening these.
  FrameRemake(Store& store, std::span<const std::string> index_keys,
              std::function<bool(const FrameLocation&)> is_bad, BaseReader read_base);

  /// nullopt where an object is nowhere, or the bytes are not the same at any level. Throws kIo.
  [[nodiscard]] std::optional<EncodedFrame> encode(const DescribedFrame& lost) const;

 private:
  [[nodiscard]] std::optional<Bytes> gather_objects(const DescribedFrame& lost) const;
  [[nodiscard]] std::optional<ObjectLocation> find_object(const ObjectDigest& object) const;

  Store& store_;
  std::vector<std::unique_ptr<ObjectIndexFile>> index_;
  std::function<bool(const FrameLocation&)> is_bad_;
  BaseReader read_base_;
};

}  // namespace vmpack
