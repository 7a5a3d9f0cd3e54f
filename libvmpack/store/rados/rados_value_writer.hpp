// SPDX-License-Identifier: Apache-2.0
// A value on its way into a RADOS store: its pieces first, where nobody looks, then its head, with which all
// of it is there.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/store/rados/rados_pool.hpp"

namespace vmpack {

/// Holds up to five pieces in memory. What is not published is removed on destruction. One thread.
class RadosValueWriter {
 public:
  explicit RadosValueWriter(RadosPool& pool);
  ~RadosValueWriter();
  RadosValueWriter(const RadosValueWriter&) = delete;
  RadosValueWriter& operator=(const RadosValueWriter&) = delete;

  void append(std::span<const ByteView> parts);

  /// Gives the value its key: where there is none, or with `expected` in the place of that version. False
  /// when it is not so. Once, and last.
  [[nodiscard]] bool publish(const std::string& key, const std::optional<std::string>& expected);

 private:
  void write_piece();
  void wait_for_oldest();
  void claim(const std::string& key, std::int64_t now);
  void check_claim(const std::string& key);

  RadosPool& pool_;
  const std::string version_;
  Bytes buffer_;
  std::uint64_t bytes_ = 0;
  std::uint64_t pieces_ = 0;
  std::int64_t began_ = 0;  // by the store's clock; once there is a piece
  bool published_ = false;
  std::deque<std::unique_ptr<RadosPending>> pending_;
};

}  // namespace vmpack
