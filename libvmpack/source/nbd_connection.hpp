// SPDX-License-Identifier: Apache-2.0
// One connection to an NBD server, with a deadline on everything: libnbd itself waits for ever.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>

#include "libvmpack/base/bytes.hpp"

struct nbd_handle;

namespace vmpack {

/// A unix socket that serves the image as the default export, or an NBD URI; the other one is empty.
struct NbdEndpoint {
  std::string socket_path;
  std::string uri;
};

/// What went wrong, without saying with which image: NbdSource adds that.
class NbdFailure : public std::runtime_error {
 public:
  NbdFailure(const std::string& message, bool connection_lost)
      : std::runtime_error(message), connection_lost_(connection_lost) {}
  /// The connection cannot be used any more.
  [[nodiscard]] bool connection_lost() const { return connection_lost_; }

 private:
  bool connection_lost_;
};

/// May be used by one thread at a time. Every method throws NbdFailure.
class NbdConnection {
 public:
  /// Called while waiting: throws when there is no use in waiting longer (the server's process has ended).
  using StillThere = std::function<void()>;

  NbdConnection(const NbdEndpoint& endpoint, std::chrono::milliseconds timeout,
                const StillThere& still_there);

  /// As the server states it; not checked against anything.
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Several connections see the same bytes.
  [[nodiscard]] bool multi_connection() const { return multi_connection_; }
  [[nodiscard]] bool has_block_status() const { return has_block_status_; }
  /// Offsets and lengths of requests must be multiples of this.
  [[nodiscard]] std::uint64_t alignment() const { return alignment_; }

  /// Fills `into`, by many requests at once.
  void read(std::uint64_t offset, ByteSpan into);

  /// Calls `add(offset, end)` for the data in a prefix of [offset, offset + length), and returns where that
  /// prefix ends, which is behind `offset`. `length` may be up to kStatusBytesMax.
  std::uint64_t data_status(std::uint64_t offset, std::uint64_t length,
                            const std::function<void(std::uint64_t, std::uint64_t)>& add);

  static constexpr std::uint64_t kRequestBytes = 256 * 1024;
  static constexpr std::size_t kRequestsInFlight = 16;
  /// The protocol counts in 32 bits.
  static constexpr std::uint64_t kStatusBytesMax = 0xffff0000;
  /// A server that answers no request for this long is given up.
  static constexpr std::chrono::seconds kSilenceMax{60};

 private:
  struct Close {
    void operator()(nbd_handle* handle) const;
  };

  template <typename Done>
  void drive(std::chrono::steady_clock::time_point deadline, const Done& done);
  bool step(std::chrono::milliseconds timeout);
  [[noreturn]] void lose(const std::string& message);

  std::unique_ptr<nbd_handle, Close> handle_;
  StillThere still_there_;
  std::uint64_t size_ = 0;
  std::uint64_t alignment_ = 1;
  std::uint64_t request_bytes_max_ = kRequestBytes;
  bool multi_connection_ = false;
  bool has_block_status_ = false;
};

}  // namespace vmpack
