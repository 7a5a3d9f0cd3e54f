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

/// How long to wait before giving a server up.
struct NbdPatience {
  std::chrono::milliseconds to_connect = std::chrono::seconds(10);
  std::chrono::milliseconds to_answer = std::chrono::seconds(30);  ///< any of the requests under way
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
  /// Asked while waiting: why there is no use in waiting longer (the server's process has ended), or empty.
  using WhyGone = std::function<std::string()>;

  /// `changes_context`: what to ask for beside holes, or empty: the context that describes what changed.
  NbdConnection(const NbdEndpoint& endpoint, const NbdPatience& patience, WhyGone why_gone,
                std::string changes_context = {});

  /// As the server states it; not checked against anything.
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Several connections see the same bytes.
  [[nodiscard]] bool multi_connection() const { return multi_connection_; }
  [[nodiscard]] bool has_block_status() const { return has_block_status_; }
  /// The server knows the context for changes.
  [[nodiscard]] bool has_changes() const { return has_changes_; }
  /// Offsets and lengths of requests must be multiples of this.
  [[nodiscard]] std::uint64_t alignment() const { return alignment_; }

  using AddExtent = std::function<void(std::uint64_t offset, std::uint64_t end)>;

  /// Fills `into`, by many requests at once.
  void read(std::uint64_t offset, ByteSpan into);

  /// Calls `add(offset, end)` for the data in [offset, offset + length), in rising order.
  void find_data(std::uint64_t offset, std::uint64_t length, const AddExtent& add);
  /// The same for what changed.
  void find_changes(std::uint64_t offset, std::uint64_t length, const AddExtent& add);

  static constexpr std::uint64_t kRequestBytes = 256 * 1024;
  static constexpr std::size_t kRequestsInFlight = 16;

 private:
  struct Close {
    void operator()(nbd_handle* handle) const;
  };

  struct StatusRequest;

  void find_extents(const char* context, bool (*wanted)(std::uint32_t flags), std::uint64_t offset,
                    std::uint64_t length, const AddExtent& add);
  void ask_status(StatusRequest& request);
  template <typename Done>
  void drive(std::chrono::steady_clock::time_point deadline, const Done& done);
  bool step(std::chrono::milliseconds timeout);
  [[noreturn]] void lose(const std::string& message);

  std::unique_ptr<nbd_handle, Close> handle_;
  NbdPatience patience_;
  WhyGone why_gone_;
  bool whole_replies_ = false;
  std::uint64_t size_ = 0;
  std::uint64_t alignment_ = 1;
  std::uint64_t request_bytes_max_ = kRequestBytes;
  bool multi_connection_ = false;
  bool has_block_status_ = false;
  std::string changes_context_;
  bool has_changes_ = false;
};

}  // namespace vmpack
