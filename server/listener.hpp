// SPDX-License-Identifier: Apache-2.0
// Listening sockets: what a user writes for them, and opening them with an error that says what to do.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack {

struct TcpAddress {
  std::string host;  ///< a name or a number; empty: all addresses of this machine
  std::string port;
};
struct UnixAddress {
  std::string path;
};
using ListenAddress = std::variant<TcpAddress, UnixAddress>;

/// "127.0.0.1:10809", "[::1]:10809", "host", "*:0", "unix:/run/vm.sock". Throws kInvalid with what is
/// allowed.
[[nodiscard]] ListenAddress parse_listen_address(std::string_view text, std::string_view default_port);

/// As parse_listen_address() takes it.
[[nodiscard]] std::string listen_address_text(const ListenAddress& address);

/// A socket that listens, non-blocking. The file of a unix socket goes when its listener does, if it is its
/// own.
class Listener {
 public:
  enum class Origin { kOurs, kAdopted };
  Listener(FileDescriptor descriptor, int family, std::string address, Origin origin = Origin::kOurs);
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  [[nodiscard]] int family() const { return family_; }
  /// As parse_listen_address() takes it, with the port that was really taken.
  [[nodiscard]] const std::string& address() const { return address_; }
  /// Of the unix socket's file that goes with the listener; empty: there is none.
  [[nodiscard]] const std::string& path() const { return path_; }
  /// The descriptor, for whoever accepts on it and then closes it.
  [[nodiscard]] int release_descriptor() { return descriptor_.release(); }

 private:
  FileDescriptor descriptor_;
  int family_;
  std::string address_;
  std::string path_;  // of a unix socket, absolute: the working folder may change
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

/// One listener for each address that the name stands for. A unix socket file that nobody listens on is
/// replaced. Throws kAlreadyExists when the address is in use, kIo and others.
[[nodiscard]] std::vector<Listener> open_listeners(const ListenAddress& address);

/// A socket that somebody else bound, and whose file is theirs. Throws kInvalid when it does not listen for
/// streams.
[[nodiscard]] Listener adopt_listener(FileDescriptor descriptor);

/// "nbd://127.0.0.1:10809" or "nbd+unix:///?socket=/run/vm.sock"; where TLS is required "nbds".
[[nodiscard]] std::string nbd_uri(const Listener& listener, bool tls = false);
/// "http://127.0.0.1:8080", or "http+unix:///run/vm.sock", which no standard knows; with TLS "https".
[[nodiscard]] std::string http_uri(const Listener& listener, bool tls = false);

}  // namespace vmpack
