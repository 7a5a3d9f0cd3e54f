// SPDX-License-Identifier: Apache-2.0
// Tells whoever started the process how it is doing: the protocol of sd_notify(3), which is one datagram a
// message. By hand, since libsystemd would bring five libraries into a program that starts in milliseconds.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "libvmpack/base/file_descriptor.hpp"

namespace vmpack {

/// Methods are for one thread. Nothing that goes wrong here stops the server.
class Notifier {
 public:
  /// Connects to $NOTIFY_SOCKET; without one, everything below does nothing. Takes the variables out of the
  /// environment.
  Notifier();

  void ready(std::string_view status) const;
  void reloading() const;
  void stopping(std::string_view status) const;
  void status(std::string_view text) const;
  void alive() const;

  /// How often alive() is expected; nullopt: not at all. Half of it is a good pace.
  [[nodiscard]] std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }
  [[nodiscard]] bool connected() const { return static_cast<bool>(socket_); }

 private:
  void send(std::string_view message) const;

  FileDescriptor socket_;
  std::optional<std::chrono::microseconds> watchdog_;
};

}  // namespace vmpack
