// SPDX-License-Identifier: Apache-2.0
// A connection to one namespace of one pool of a Ceph cluster, and operations on its objects. Each operation
// is atomic on its object. librados sends an operation again when an OSD goes away, and the cluster sees to
// it that it is done once.
#pragma once

#include <array>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "libvmpack/base/bytes.hpp"
#include "libvmpack/base/error.hpp"
#include "libvmpack/store/rados/librados.hpp"
#include "libvmpack/store/rados/rados_location.hpp"

namespace vmpack {

/// Steps that are done on one object together, or not at all.
class RadosWrite {
 public:
  explicit RadosWrite(const LibRados& library);

  RadosWrite& create_exclusively();
  RadosWrite& expect_exists();
  RadosWrite& expect_attribute(const char* name, std::string_view value);
  RadosWrite& set_attribute(const char* name, std::string_view value);
  /// `bytes` are copied when the operation starts.
  RadosWrite& write_all_of(ByteView bytes);
  /// Says that the object will never change and does not compress.
  RadosWrite& hint_final();
  RadosWrite& remove();

 private:
  friend class RadosPool;
  const LibRados* library_;
  std::unique_ptr<void, decltype(LibRados::release_write_op)> operation_;
};

/// What an object is and holds, of one moment.
struct RadosObject {
  std::string head;  ///< its attributes of these names, empty without them
  std::string version;
  std::string owner;
  std::int64_t modified_seconds = 0;
  std::uint64_t bytes = 0;     ///< the object's size
  std::size_t bytes_read = 0;  ///< fewer than asked for only at its end
};

/// An operation under way. Waits for its end on destruction. Not for use by two threads at once.
class RadosPending {
 public:
  explicit RadosPending(const LibRados& library);
  ~RadosPending();
  RadosPending(const RadosPending&) = delete;
  RadosPending& operator=(const RadosPending&) = delete;

  /// 0, or a negative error number.
  [[nodiscard]] int wait();

 private:
  friend class RadosPool;
  friend class RadosPendingRead;
  const LibRados& library_;
  rados_completion_t completion_ = nullptr;
  bool started_ = false;
  std::unique_ptr<void, decltype(LibRados::release_write_op)> write_;
};

/// A read under way; as RadosPending.
class RadosPendingRead {
 public:
  explicit RadosPendingRead(const LibRados& library);
  ~RadosPendingRead();
  RadosPendingRead(const RadosPendingRead&) = delete;
  RadosPendingRead& operator=(const RadosPendingRead&) = delete;

  /// 0, or a negative error number. What was read is in `object` then.
  [[nodiscard]] int wait(RadosObject& object);

 private:
  friend class RadosPool;
  const LibRados& library_;
  RadosPending pending_;
  std::unique_ptr<void, decltype(LibRados::release_read_op)> read_;
  rados_xattrs_iter_t attributes_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::time_t modified_ = 0;
  std::size_t bytes_read_ = 0;
  std::array<int, 3> results_{};
};

/// Any thread.
class RadosPool {
 public:
  /// Connects. Throws kNotFound without the pool, kIo when the cluster does not answer in time or does not
  /// know the user, kUnsupported without librados.
  explicit RadosPool(const RadosLocation& location);
  ~RadosPool();
  RadosPool(const RadosPool&) = delete;
  RadosPool& operator=(const RadosPool&) = delete;

  [[nodiscard]] RadosWrite begin_write() const { return RadosWrite(*library_); }
  /// Does it and waits; 0 or a negative error number. `seconds` becomes the object's modification time. A
  /// full pool or cluster gives ENOSPC or EDQUOT at once.
  [[nodiscard]] int write(const std::string& object, RadosWrite write, std::int64_t seconds);
  [[nodiscard]] std::unique_ptr<RadosPending> start_write(const std::string& object, RadosWrite write,
                                                          std::int64_t seconds);

  /// Attributes, size and time, and the bytes from `offset` into `into`.
  [[nodiscard]] int read(const std::string& object, RadosObject& found, std::uint64_t offset = 0,
                         ByteSpan into = {});
  [[nodiscard]] std::unique_ptr<RadosPendingRead> start_read(const std::string& object,
                                                             std::uint64_t offset = 0, ByteSpan into = {});
  /// Bytes alone: how many, or a negative error number.
  [[nodiscard]] int read_bytes(const std::string& object, std::uint64_t offset, ByteSpan into);

  /// Calls `each` with the name of every object of the namespace, in no order.
  void list(const std::function<void(std::string_view name)>& each);

  /// Seconds since 1970 by the clock of the OSD that has `object`, which must exist; a negative error number
  /// without.
  [[nodiscard]] std::int64_t time_at(const std::string& object);

  /// "<doing> <location>/<key>: <what the error number means>", with what to do about it.
  [[nodiscard]] Error error(int result, std::string_view doing, std::string_view key) const;

 private:
  void configure(const RadosLocation& location);

  const std::shared_ptr<const LibRados> library_;
  const std::string location_;
  const std::string user_;
  const std::string pool_;
  rados_t cluster_ = nullptr;
  rados_ioctx_t objects_ = nullptr;
};

}  // namespace vmpack
