// SPDX-License-Identifier: Apache-2.0
#include "server/daemon/notifier.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <string>

namespace vmpack {
namespace {

/// A socket that sends to `path`; a leading @ stands for the abstract namespace. Empty when that fails.
FileDescriptor connect_to(std::string path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) return {};
  if (path.front() == '@') path.front() = '\0';
  std::copy(path.begin(), path.end(), static_cast<char*>(address.sun_path));
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  FileDescriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const auto* to = static_cast<const sockaddr*>(static_cast<const void*>(&address));
  if (!socket || ::connect(socket.get(), to, bytes) != 0) return {};
  return socket;
}

/// $WATCHDOG_USEC, if it is meant for this process.
std::optional<std::chrono::microseconds> watchdog_from_environment() {
  const auto number = [](const char* name) -> std::optional<std::int64_t> {
    const char* text = std::getenv(name);
    if (text == nullptr) return std::nullopt;
    const std::string_view view(text);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(view.begin(), view.end(), value);
    if (error != std::errc() || end != view.end() || value <= 0) return std::nullopt;
    return value;
  };
  const auto microseconds = number("WATCHDOG_USEC");
  if (!microseconds || number("WATCHDOG_PID").value_or(::getpid()) != ::getpid()) return std::nullopt;
  return std::chrono::microseconds(*microseconds);
}

}  // namespace

Notifier::Notifier() : watchdog_(watchdog_from_environment()) {
  if (const char* path = std::getenv("NOTIFY_SOCKET")) socket_ = connect_to(path);
  if (!socket_) watchdog_.reset();
  for (const char* name : {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}) ::unsetenv(name);
}

void Notifier::ready(std::string_view status) const { send(fmt::format("READY=1\nSTATUS={}", status)); }

void Notifier::reloading() const {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto microseconds = static_cast<std::int64_t>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000;
  send(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", microseconds));
}

void Notifier::stopping(std::string_view status) const { send(fmt::format("STOPPING=1\nSTATUS={}", status)); }

void Notifier::status(std::string_view text) const { send(fmt::format("STATUS={}", text)); }

void Notifier::alive() const { send("WATCHDOG=1"); }

void Notifier::send(std::string_view message) const {
  if (!socket_) return;
  // A manager that does not read must not hold up the server.
  static_cast<void>(::send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
}

}  // namespace vmpack
