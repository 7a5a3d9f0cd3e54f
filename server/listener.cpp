// SPDX-License-Identifier: Apache-2.0
#include "server/listener.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string_view>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

constexpr int kBacklog = 512;
constexpr std::string_view kUnixPrefix = "unix:";

const sockaddr* as_sockaddr(const void* address) { return static_cast<const sockaddr*>(address); }

Error listen_error(int error_number, const std::string& address) {
  if (error_number != EADDRINUSE) return system_error(error_number, "cannot listen on", address);
  return {ErrorCode::kAlreadyExists, fmt::format("cannot listen on {}: the address is in use", address),
          "stop the program that listens there, or choose another address with --nbd"};
}

FileDescriptor make_socket(int family, const std::string& address) {
  FileDescriptor descriptor(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!descriptor) throw system_error(errno, "cannot make a socket for", address);
  return descriptor;
}

void bind_and_listen(int descriptor, const sockaddr* to, socklen_t bytes, const std::string& address) {
  if (::bind(descriptor, to, bytes) != 0 || ::listen(descriptor, kBacklog) != 0)
    throw listen_error(errno, address);
}

// ---- TCP ----

std::string bracketed(const std::string& host) {
  return host.find(':') == std::string::npos ? host : fmt::format("[{}]", host);
}

/// What the socket is really bound to: the port was chosen by the system if it was 0.
std::string bound_address(int descriptor, const std::string& address) {
  sockaddr_storage bound{};
  socklen_t bytes = sizeof(bound);
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  if (::getsockname(descriptor, static_cast<sockaddr*>(static_cast<void*>(&bound)), &bytes) != 0 ||
      ::getnameinfo(as_sockaddr(&bound), bytes, host.data(), host.size(), port.data(), port.size(),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    throw system_error(errno, "cannot tell the address of", address);
  }
  return fmt::format("{}:{}", bracketed(host.data()), port.data());
}

Listener open_tcp(const addrinfo& found, const std::string& address) {
  auto descriptor = make_socket(found.ai_family, address);
  const int on = 1;
  ::setsockopt(descriptor.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  // A name may stand for addresses of both families, each with a socket of its own.
  if (found.ai_family == AF_INET6) ::setsockopt(descriptor.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
  bind_and_listen(descriptor.get(), found.ai_addr, found.ai_addrlen, address);
  auto bound = bound_address(descriptor.get(), address);
  return {std::move(descriptor), found.ai_family, std::move(bound)};
}

std::vector<Listener> open_tcp(const TcpAddress& tcp) {
  const auto address = listen_address_text(tcp);
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int failed =
      ::getaddrinfo(tcp.host.empty() ? nullptr : tcp.host.c_str(), tcp.port.c_str(), &hints, &found);
  if (failed != 0) {
    throw Error(ErrorCode::kInvalid, fmt::format("cannot listen on {}: {}", address, ::gai_strerror(failed)),
                "give an address of this machine as ADDRESS:PORT");
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, &::freeaddrinfo);
  std::vector<Listener> listeners;
  for (; found != nullptr; found = found->ai_next) listeners.push_back(open_tcp(*found, address));
  return listeners;
}

// ---- unix ----

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    throw Error(ErrorCode::kInvalid,
                fmt::format("the path of a unix socket is limited to {} bytes: {}",
                            sizeof(address.sun_path) - 1, path),
                "choose a shorter one");
  }
  std::copy(path.begin(), path.end(), static_cast<char*>(address.sun_path));
  return address;
}

/// Removes a socket file that its program left behind. True when the path is free now.
bool remove_stale_socket(const std::string& path, const sockaddr_un& to) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return errno == ENOENT;
  if (!S_ISSOCK(status.st_mode)) {
    throw Error(ErrorCode::kAlreadyExists,
                fmt::format("cannot listen on unix:{}: a file of that name exists", path),
                "remove it, or choose another path with --nbd unix:PATH");
  }
  const auto probe = make_socket(AF_UNIX, path);
  // Anything but a refusal, a full queue included, says that somebody listens.
  if (::connect(probe.get(), as_sockaddr(&to), sizeof(to)) == 0 || errno != ECONNREFUSED) return false;
  return ::unlink(path.c_str()) == 0;
}

Listener open_unix(const std::string& path) {
  const auto address = fmt::format("{}{}", kUnixPrefix, path);
  const auto to = unix_address(path);
  auto descriptor = make_socket(AF_UNIX, address);
  if (::bind(descriptor.get(), as_sockaddr(&to), sizeof(to)) != 0) {
    if (errno != EADDRINUSE || !remove_stale_socket(path, to)) throw listen_error(errno, address);
    if (::bind(descriptor.get(), as_sockaddr(&to), sizeof(to)) != 0) throw listen_error(errno, address);
  }
  if (::listen(descriptor.get(), kBacklog) != 0) throw listen_error(errno, address);
  return {std::move(descriptor), AF_UNIX, address};
}

/// -1: it is no socket.
int socket_option(int descriptor, int option) {
  int value = -1;
  socklen_t bytes = sizeof(value);
  return ::getsockopt(descriptor, SOL_SOCKET, option, &value, &bytes) == 0 ? value : -1;
}

bool is_port(std::string_view text) {
  return !text.empty() && text.size() <= 5 &&
         text.find_first_not_of("0123456789") == std::string_view::npos &&
         std::stoul(std::string(text)) <= 65535;
}

/// For a URI's query. Everything that could mean something there is written as %XX.
std::string percent_encoded(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("-._~/").find(c) != std::string_view::npos;
    encoded += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

}  // namespace

ListenAddress parse_listen_address(std::string_view text, std::string_view default_port) {
  const auto bad = [&](std::string_view why) {
    return Error(ErrorCode::kInvalid, fmt::format("bad address \"{}\": {}", text, why),
                 "write ADDRESS:PORT, [IPV6]:PORT or unix:PATH");
  };
  if (text.starts_with(kUnixPrefix)) {
    const auto path = text.substr(kUnixPrefix.size());
    if (path.empty()) throw bad("no path");
    return UnixAddress{std::string(path)};
  }
  std::string_view host = text;
  std::string_view port;
  if (text.starts_with('[')) {
    const auto end = text.find(']');
    if (end == std::string_view::npos) throw bad("the bracket is not closed");
    host = text.substr(1, end - 1);
    port = text.substr(end + 1);
    if (!port.empty() && !port.starts_with(':')) throw bad("text behind the bracket");
  } else if (const auto colon = text.rfind(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon);
    if (host.find(':') != std::string_view::npos) throw bad("an IPv6 address needs brackets");
  }
  if (text.empty()) throw bad("it is empty");
  if (host.find('/') != std::string_view::npos) throw bad("a path needs unix: before it");
  port = port.empty() ? default_port : port.substr(1);
  if (!is_port(port)) throw bad("the port must be a number from 0 to 65535");
  return TcpAddress{std::string(host == "*" ? "" : host), std::string(port)};
}

std::string listen_address_text(const ListenAddress& address) {
  if (const auto* to_unix = std::get_if<UnixAddress>(&address))
    return fmt::format("{}{}", kUnixPrefix, to_unix->path);
  const auto& tcp = std::get<TcpAddress>(address);
  return fmt::format("{}:{}", tcp.host.empty() ? "*" : bracketed(tcp.host), tcp.port);
}

Listener::Listener(FileDescriptor descriptor, int family, std::string address, Origin origin)
    : descriptor_(std::move(descriptor)), family_(family), address_(std::move(address)) {
  if (family_ != AF_UNIX || origin == Origin::kAdopted) return;
  path_ = std::filesystem::absolute(address_.substr(kUnixPrefix.size())).string();
  struct stat status{};
  if (::lstat(path_.c_str(), &status) != 0) throw system_error(errno, "cannot read", path_);
  device_ = status.st_dev;
  inode_ = status.st_ino;
}

Listener::Listener(Listener&& other) noexcept
    : descriptor_(std::move(other.descriptor_)),
      family_(other.family_),
      address_(std::move(other.address_)),
      path_(std::exchange(other.path_, {})),
      device_(other.device_),
      inode_(other.inode_) {}

Listener::~Listener() {
  if (path_.empty()) return;
  // Somebody else may have put a socket of theirs in its place.
  struct stat status{};
  if (::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

std::vector<Listener> open_listeners(const ListenAddress& address) {
  if (const auto* tcp = std::get_if<TcpAddress>(&address)) return open_tcp(*tcp);
  std::vector<Listener> listeners;
  listeners.push_back(open_unix(std::get<UnixAddress>(address).path));
  return listeners;
}

Listener adopt_listener(FileDescriptor descriptor) {
  const int fd = descriptor.get();
  if (socket_option(fd, SO_TYPE) != SOCK_STREAM || socket_option(fd, SO_ACCEPTCONN) != 1) {
    throw Error(ErrorCode::kInvalid, fmt::format("descriptor {} is no socket that listens for streams", fd),
                "write ListenStream= in the socket's unit, and Accept=no");
  }
  ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  sockaddr_un bound{};
  socklen_t bytes = sizeof(bound);
  if (::getsockname(fd, static_cast<sockaddr*>(static_cast<void*>(&bound)), &bytes) != 0)
    throw system_error(errno, "cannot tell the address of", "a socket");
  const int family = socket_option(fd, SO_DOMAIN);
  if (family != AF_UNIX) {
    auto address = bound_address(fd, "a socket");
    return {std::move(descriptor), family, std::move(address), Listener::Origin::kAdopted};
  }
  const auto* path = static_cast<const char*>(bound.sun_path);
  auto address =
      fmt::format("{}{}", kUnixPrefix, std::string_view(path, ::strnlen(path, sizeof(bound.sun_path))));
  return {std::move(descriptor), family, std::move(address), Listener::Origin::kAdopted};
}

std::string nbd_uri(const Listener& listener, bool tls) {
  const std::string_view scheme = tls ? "nbds" : "nbd";
  const std::string_view address = listener.address();
  if (listener.family() != AF_UNIX) return fmt::format("{}://{}", scheme, address);
  return fmt::format("{}+unix:///?socket={}", scheme, percent_encoded(address.substr(kUnixPrefix.size())));
}

std::string http_uri(const Listener& listener, bool tls) {
  const std::string_view scheme = tls ? "https" : "http";
  const std::string_view address = listener.address();
  if (listener.family() != AF_UNIX) return fmt::format("{}://{}", scheme, address);
  return fmt::format("{}+unix://{}", scheme, address.substr(kUnixPrefix.size()));
}

}  // namespace vmpack
