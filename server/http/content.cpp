// SPDX-License-Identifier: Apache-2.0
#include "server/http/content.hpp"

#include <fmt/format.h>

#include <utility>

#include "libvmpack/base/error.hpp"

namespace vmpack::http {
namespace {

class ImageContent final : public Content {
 public:
  explicit ImageContent(std::shared_ptr<const Image> image) : image_(std::move(image)) {}
  std::uint64_t size() const override { return image_->size(); }
  void read(std::uint64_t offset, ByteSpan into) const override { image_->read(offset, into); }
  bool try_read(std::uint64_t offset, ByteSpan into) const override { return image_->try_read(offset, into); }

 private:
  std::shared_ptr<const Image> image_;
};

class StoredContent final : public Content {
 public:
  StoredContent(Store& store, std::string key, std::uint64_t bytes, std::optional<StoreVersion> version)
      : store_(store), key_(std::move(key)), bytes_(bytes), version_(std::move(version)) {}
  std::uint64_t size() const override { return bytes_; }
  void read(std::uint64_t offset, ByteSpan into) const override {
    store_.get_range(key_, offset, into);
    if (!version_) return;
    const auto stat = store_.stat(key_);
    if (!stat || stat->version != *version_)
      throw Error(ErrorCode::kIo, fmt::format("{} was replaced while it was sent", key_));
  }
  bool try_read(std::uint64_t, ByteSpan) const override { return false; }

 private:
  Store& store_;
  const std::string key_;
  const std::uint64_t bytes_;
  const std::optional<StoreVersion> version_;
};

}  // namespace

std::shared_ptr<const Content> image_content(std::shared_ptr<const Image> image) {
  return std::make_shared<ImageContent>(std::move(image));
}

std::shared_ptr<const Content> stored_content(Store& store, std::string key, std::uint64_t bytes,
                                              std::optional<StoreVersion> version) {
  return std::make_shared<StoredContent>(store, std::move(key), bytes, std::move(version));
}

}  // namespace vmpack::http
