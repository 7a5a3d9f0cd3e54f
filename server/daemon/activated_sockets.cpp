// SPDX-License-Identifier: Apache-2.0
#include "server/daemon/activated_sockets.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string>
#include <string_view>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"

namespace vmpack {
namespace {

constexpr int kFirstDescriptor = 3;
constexpr int kSocketsMax = 256;

std::string variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? std::string() : text;
}

int number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), value);
  return error == std::errc() && end == text.end() ? value : 0;
}

/// How many there are for this process.
int socket_count() {
  if (number(variable("LISTEN_PID")) != ::getpid()) return 0;
  const int count = number(variable("LISTEN_FDS"));
  if (count < 0 || count > kSocketsMax) {
    throw Error(ErrorCode::kInvalid, fmt::format("LISTEN_FDS says {}, not 0 to {}", count, kSocketsMax));
  }
  return count;
}

/// Takes the first of "a:b:c".
std::string take_name(std::string_view& names) {
  const auto end = std::min(names.find(':'), names.size());
  std::string name(names.substr(0, end));
  names.remove_prefix(std::min(end + 1, names.size()));
  return name;
}

}  // namespace

ActivatedSockets take_activated_sockets() {
  ActivatedSockets sockets;
  const int count = socket_count();
  const std::string all_names = variable("LISTEN_FDNAMES");
  std::string_view names = all_names;
  for (int descriptor = kFirstDescriptor; descriptor < kFirstDescriptor + count; ++descriptor) {
    const auto name = take_name(names);
    if (name == "http") {
      sockets.http.push_back(adopt_listener(FileDescriptor(descriptor)));
    } else if (name == "nbd" || name == "unknown" || name.empty()) {
      sockets.nbd.push_back(adopt_listener(FileDescriptor(descriptor)));
    } else {
      throw Error(ErrorCode::kInvalid,
                  fmt::format("the service manager handed over a socket called \"{}\"", printable(name)),
                  "write FileDescriptorName=nbd or FileDescriptorName=http in its unit");
    }
  }
  for (const char* variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(variable);
  return sockets;
}

}  // namespace vmpack
