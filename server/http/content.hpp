// SPDX-License-Identifier: Apache-2.0
// Bytes that are too many to be held: they are read in pieces while they are sent.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/store/store.hpp"
#include "server/export.hpp"

namespace vmpack::http {

/// Every method may be called from any thread, by several at once, for ranges inside.
class Content {
 public:
  Content() = default;
  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;
  virtual ~Content() = default;

  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// May block on the store. Throws Error; `into` then holds nothing that may be shown.
  virtual void read(std::uint64_t offset, ByteSpan into) const = 0;
  /// As read(), but only from memory: false, at once, when that is not possible.
  [[nodiscard]] virtual bool try_read(std::uint64_t offset, ByteSpan into) const = 0;
};

[[nodiscard]] std::shared_ptr<const Content> image_content(std::shared_ptr<const Image> image);

/// A value of a store, which must outlive it. With `version`, reading fails once the value is another one.
[[nodiscard]] std::shared_ptr<const Content> stored_content(Store& store, std::string key,
                                                            std::uint64_t bytes,
                                                            std::optional<StoreVersion> version);

}  // namespace vmpack::http
