// SPDX-License-Identifier: Apache-2.0
// An image in memory, for tests of what comes behind the source.
#pragma once

#include "libvmpack/source/source.hpp"

namespace vmpack::test {

class MemorySource final : public Source {
 public:
  explicit MemorySource(Bytes image) : image_(std::move(image)), facts_{"raw", "memory", {}} {}

  [[nodiscard]] std::uint64_t size() const override { return image_.size(); }
  void read(std::uint64_t offset, ByteSpan into) override {
    std::memcpy(into.data(), image_.data() + offset, into.size());
  }
  [[nodiscard]] std::vector<ByteRange> data_ranges(std::uint64_t offset, std::uint64_t length) override {
    if (length == 0) return {};
    return {{offset, length}};
  }
  [[nodiscard]] const SourceFacts& facts() const override { return facts_; }
  [[nodiscard]] SourceAttachment attachment() const override { return {}; }

 private:
  Bytes image_;
  SourceFacts facts_;
};

}  // namespace vmpack::test
