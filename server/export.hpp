// SPDX-License-Identifier: Apache-2.0
// What the protocols serve: images by name. They see these interfaces alone, so that tests can serve images
// that fail, or answer late, at will.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/read/image_reader.hpp"

namespace vmpack {

/// The contract is ImageReader's: any thread, several at once, and ranges must lie inside the image.
class Image {
 public:
  Image() = default;
  Image(const Image&) = delete;
  Image& operator=(const Image&) = delete;
  virtual ~Image() = default;

  [[nodiscard]] virtual std::uint64_t size() const = 0;
  virtual void read(std::uint64_t offset, ByteSpan into) const = 0;
  [[nodiscard]] virtual bool try_read(std::uint64_t offset, ByteSpan into) const = 0;
  virtual void pieces(std::uint64_t offset, std::uint64_t length, std::vector<ImagePiece>& pieces) const = 0;
  [[nodiscard]] virtual bool try_pieces(std::uint64_t offset, std::uint64_t length,
                                        std::vector<ImagePiece>& pieces) const = 0;
  [[nodiscard]] virtual std::vector<AllocationRun> allocation(std::uint64_t offset,
                                                              std::uint64_t length) const = 0;
  virtual void prefetch(std::uint64_t offset, std::uint64_t length) const = 0;
};

/// An image under the name that a client asked for.
struct Export {
  std::shared_ptr<const Image> image;
  std::string name;         ///< in full: "web:v1", or "web@" and all digits of the digest
  std::string description;  ///< one line for people
  bool by_digest =
      false;  ///< the name can never mean another image, whenever and by whomever it is asked for
  SnapshotDigest snapshot{};
  std::int64_t modified_seconds = 0;  ///< when the name came to mean this image, since 1970; 0: not known
};

struct ExportListing {
  std::string name;
  std::string description;
};

/// Every method may block on the store, and may be called from any thread.
class ExportCatalog {
 public:
  ExportCatalog() = default;
  ExportCatalog(const ExportCatalog&) = delete;
  ExportCatalog& operator=(const ExportCatalog&) = delete;
  virtual ~ExportCatalog() = default;

  /// What `name` means now; the empty name is the only reference of a repository that has just one. Throws
  /// kNotFound or kInvalid when nothing is called so, other codes when it cannot be served.
  [[nodiscard]] virtual Export open(std::string_view name) = 0;

  /// At most `count_max` of what can be opened, sorted by name.
  [[nodiscard]] virtual std::vector<ExportListing> list(std::size_t count_max) = 0;

  /// Snapshots that somebody has open.
  [[nodiscard]] virtual std::vector<SnapshotDigest> in_use() = 0;
};

}  // namespace vmpack
