// SPDX-License-Identifier: Apache-2.0
#include "server/listener.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <optional>

#include "tests/support/files.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

TcpAddress tcp(std::string_view text) { return std::get<TcpAddress>(parse_listen_address(text, "10809")); }

Listener only(const ListenAddress& address) {
  auto listeners = open_listeners(address);
  REQUIRE(listeners.size() == 1);
  return std::move(listeners.front());
}

TEST_CASE("addresses are read in all their forms") {
  CHECK(tcp("127.0.0.1:80").host == "127.0.0.1");
  CHECK(tcp("127.0.0.1:80").port == "80");
  CHECK(tcp("127.0.0.1").port == "10809");
  CHECK(tcp("[::1]:0").host == "::1");
  CHECK(tcp("[::1]").port == "10809");
  CHECK(tcp("*:5000").host.empty());
  CHECK(tcp(":5000").host.empty());
  CHECK(tcp("images.example.org").host == "images.example.org");
  CHECK(std::get<UnixAddress>(parse_listen_address("unix:/run/vm.sock", "1")).path == "/run/vm.sock");
}

TEST_CASE("an address that makes no sense is refused with what would") {
  for (const auto* text : {"", "unix:", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:123456",
                           "::1:80", "[::1", "[::1]80", "/run/vm.sock"}) {
    const auto error = test::error_of([&] { static_cast<void>(parse_listen_address(text, "10809")); });
    CHECK(error.code() == ErrorCode::kInvalid);
    CHECK_FALSE(error.hint().empty());
  }
}

TEST_CASE("port 0 becomes the port that was taken, and a second listener on it is refused") {
  const Listener first = only(TcpAddress{"127.0.0.1", "0"});
  CHECK(nbd_uri(first) == "nbd://" + first.address());
  CHECK(nbd_uri(first, true) == "nbds://" + first.address());
  CHECK(http_uri(first, true) == "https://" + first.address());
  const auto taken = std::get<TcpAddress>(parse_listen_address(first.address(), "0"));
  CHECK(taken.port != "0");
  const auto error = test::error_of([&] { static_cast<void>(open_listeners(taken)); });
  CHECK(error.code() == ErrorCode::kAlreadyExists);
  CHECK(std::string(error.what()).find("in use") != std::string::npos);
}

TEST_CASE("an unknown host is refused") {
  CHECK(test::error_of([] {
          static_cast<void>(open_listeners(TcpAddress{"no.such.host.invalid", "0"}));
        }).code() == ErrorCode::kInvalid);
}

TEST_CASE("a unix socket's file lives as long as its listener") {
  const test::TempDir folder;
  const std::string path = folder / "vm.sock";
  {
    const Listener listener = only(UnixAddress{path});
    CHECK(std::filesystem::is_socket(path));
    CHECK(nbd_uri(listener) == "nbd+unix:///?socket=" + path);
  }
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("a unix socket that somebody listens on is left alone") {
  const test::TempDir folder;
  const std::string path = folder / "vm.sock";
  const Listener first = only(UnixAddress{path});
  CHECK(test::error_of([&] { static_cast<void>(open_listeners(UnixAddress{path})); }).code() ==
        ErrorCode::kAlreadyExists);
  CHECK(std::filesystem::is_socket(path));
}

TEST_CASE("a socket file that a killed server left behind is replaced") {
  const test::TempDir folder;
  const std::string path = folder / "vm.sock";
  {
    const FileDescriptor stale(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(static_cast<char*>(address.sun_path), path.size());
    REQUIRE(::bind(stale.get(), static_cast<sockaddr*>(static_cast<void*>(&address)), sizeof(address)) == 0);
  }
  REQUIRE(std::filesystem::exists(path));
  const Listener listener = only(UnixAddress{path});
  CHECK(std::filesystem::is_socket(path));
}

TEST_CASE("a file that is no socket is never replaced") {
  const test::TempDir folder;
  const std::string path = folder / "precious";
  test::write_file(path, "data");
  CHECK(test::error_of([&] { static_cast<void>(open_listeners(UnixAddress{path})); }).code() ==
        ErrorCode::kAlreadyExists);
  CHECK(as_text(test::read_file(path)) == "data");
}

TEST_CASE("a listener removes no socket that took its place") {
  const test::TempDir folder;
  const std::string path = folder / "vm.sock";
  std::optional<Listener> old(only(UnixAddress{path}));
  std::filesystem::rename(path, folder / "moved.sock");
  const Listener young = only(UnixAddress{path});
  old.reset();
  CHECK(std::filesystem::is_socket(path));
}

TEST_CASE("a path that no socket can have is refused") {
  const std::string path = "/tmp/" + std::string(200, 'x');
  CHECK(test::error_of([&] { static_cast<void>(open_listeners(UnixAddress{path})); }).code() ==
        ErrorCode::kInvalid);
  CHECK(test::error_of([&] { static_cast<void>(open_listeners(UnixAddress{"/no/such/folder/s"})); }).code() ==
        ErrorCode::kNotFound);
}

TEST_CASE("a path with odd characters is percent-encoded in its URI") {
  const test::TempDir folder;
  const Listener listener = only(UnixAddress{folder / "a b&c"});
  CHECK(nbd_uri(listener).ends_with("/a%20b%26c"));
}

}  // namespace
}  // namespace vmpack
