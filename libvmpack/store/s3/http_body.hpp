// SPDX-License-Identifier: Apache-2.0
// Bytes on their way to a server: readable more than once, because a request may have to be sent again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "libvmpack/base/bytes.hpp"

namespace vmpack {

class HttpBody {
 public:
  HttpBody() = default;
  HttpBody(const HttpBody&) = delete;
  HttpBody& operator=(const HttpBody&) = delete;
  virtual ~HttpBody() = default;

  [[nodiscard]] virtual std::uint64_t size() const = 0;
  /// Copies bytes from `offset` on into `into`; returns how many, at least one unless that is the end or
  /// `into` is empty. Not for two threads at once.
  virtual std::size_t read(std::uint64_t offset, ByteSpan into) = 0;
};

/// The concatenation of parts that lie in memory, and outlive it. Fast when it is read from front to end.
class PartsBody final : public HttpBody {
 public:
  explicit PartsBody(std::span<const ByteView> parts) : parts_(parts) {
    for (const ByteView& part : parts) size_ += part.size();
  }

  [[nodiscard]] std::uint64_t size() const override { return size_; }
  std::size_t read(std::uint64_t offset, ByteSpan into) override;

 private:
  std::span<const ByteView> parts_;
  std::uint64_t size_ = 0;
  std::size_t part_ = 0;           // where the last read ended
  std::uint64_t part_offset_ = 0;  // of that part in the whole
};

/// A range of another body, as a body of its own.
class BodyRange final : public HttpBody {
 public:
  BodyRange(HttpBody& whole, std::uint64_t offset, std::uint64_t bytes)
      : whole_(whole), offset_(offset), bytes_(bytes) {}

  [[nodiscard]] std::uint64_t size() const override { return bytes_; }
  std::size_t read(std::uint64_t offset, ByteSpan into) override {
    return whole_.read(
        offset_ + offset,
        into.first(static_cast<std::size_t>(std::min<std::uint64_t>(into.size(), bytes_ - offset))));
  }

 private:
  HttpBody& whole_;
  std::uint64_t offset_;
  std::uint64_t bytes_;
};

}  // namespace vmpack
