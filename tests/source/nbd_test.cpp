// SPDX-License-Identifier: Apache-2.0
// Other people's NBD servers: good ones of every kind, and those that fail, lie or fall silent.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <thread>

#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/limits.hpp"
#include "libvmpack/source/nbd_connection.hpp"
#include "tests/source/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/run_command.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using test::disk_bytes;
using test::error_of;
using test::open_error;
using test::open_image;
using test::read_image;
using test::TempDir;

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// nbdkit with a plugin and its arguments, serving a unix socket until the end of the test. Its socket is
// there before it listens; its file with the process number says that it does.
class Server {
 public:
  Server(const TempDir& folder, std::vector<std::string> arguments) : socket_(folder / "sock") {
    const std::string listening = folder / "listening";
    fs::remove(socket_);
    fs::remove(listening);
    arguments.insert(arguments.begin(),
                     {"nbdkit", "--foreground", "--readonly", "--unix", socket_, "--pidfile", listening});
    process_ = test::start_command(arguments);
    for (int i = 0; i < 500 && !fs::exists(listening); ++i) std::this_thread::sleep_for(10ms);
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() { stop(); }

  std::string uri() const { return "nbd+unix:///?socket=" + socket_; }
  void stop() {
    if (process_ == 0) return;
    ::kill(process_, SIGKILL);
    test::wait_for(process_);
    process_ = 0;
  }

 private:
  std::string socket_;
  int process_ = 0;
};

TEST_CASE("an NBD export reads as the disk that is served") {
  TempDir folder;
  const Bytes disk = disk_bytes(4 * kMiB + 3 * kSectorBytes, 1);
  test::write_sparse(folder / "disk.raw", disk);
  const std::vector<std::vector<std::string>> kinds{
      {"file", folder / "disk.raw"},
      {"--filter=noextents", "file", folder / "disk.raw"},
      {"--no-sr", "file", folder / "disk.raw"},
      {"--filter=multi-conn", "file", folder / "disk.raw", "multi-conn-mode=disable"},
      {"--filter=delay", "file", folder / "disk.raw", "rdelay=2ms"},
  };
  for (const auto& kind : kinds) {
    INFO(kind[0]);
    const Server server(folder, kind);
    const auto source = open_image(server.uri());
    CHECK(read_image(*source) == disk);
    CHECK(source->facts().format == "nbd");
    CHECK(source->facts().location == server.uri());
    CHECK(source->attachment().nbd_uri == server.uri());
    CHECK(source->attachment().nbd_socket.empty());
  }
}

TEST_CASE("an NBD export of any size reads as if zeros followed up to the next sector") {
  TempDir folder;
  for (const std::size_t size : {0, 1, 1000, 262'145}) {
    const Bytes disk = test::random_bytes(2, size);
    test::write_file(folder / "disk.raw", disk);
    const Server server(folder, {"file", folder / "disk.raw"});
    const auto source = open_image(server.uri());
    REQUIRE(source->size() == round_up(size, kSectorBytes));
    const Bytes got = read_image(*source);
    CHECK(std::equal(disk.begin(), disk.end(), got.begin()));
    CHECK(is_zero(ByteView(got).subspan(size)));
  }
}

TEST_CASE("a server that wants aligned requests gets them, and unaligned reads work all the same") {
  TempDir folder;
  const Bytes disk = disk_bytes(2 * kMiB, 3);
  test::write_sparse(folder / "disk.raw", disk);
  const Server server(folder,
                      {"--filter=blocksize-policy", "file", folder / "disk.raw", "blocksize-minimum=4k",
                       "blocksize-preferred=4k", "blocksize-maximum=64k", "blocksize-error-policy=error"});
  const auto source = open_image(server.uri());
  CHECK(read_image(*source) == disk);
  const std::vector<ByteRange> parts{{0, 4095}, {1, 1}, {4095, 2}, {512, 100'000}, {2 * kMiB - 1, 1}};
  for (const auto& [offset, length] : parts) {
    Bytes part(length);
    source->read(offset, part);
    CHECK(std::ranges::equal(part, ByteView(disk).subspan(offset, length)));
  }
  for (const ByteRange& range : source->data_ranges(512, kMiB)) {
    CHECK(range.offset >= 512);
    CHECK(range.end() <= kMiB + 512);
  }
}

TEST_CASE("a server that fails to read some of it is an error with the offset, and reads the rest") {
  TempDir folder;
  const Bytes disk = test::random_bytes(4, 2 * kMiB);
  test::write_file(folder / "disk.raw", disk);
  const Server server(folder, {"--filter=error", "file", folder / "disk.raw", "error-pread=EIO",
                               "error-pread-rate=100%", "error-pread-file=" + (folder / "fail")});
  const auto source = open_image(server.uri());
  CHECK(read_image(*source) == disk);
  test::write_file(folder / "fail", std::string_view());
  Bytes part(kMiB);
  const Error error = error_of([&] { source->read(kMiB, part); });
  CHECK(error.code() == ErrorCode::kIo);
  CHECK(contains(error.what(), "at offset 1048576"));
  fs::remove(folder / "fail");
  CHECK(read_image(*source) == disk);
}

TEST_CASE("a server that is started again goes on being read, unless it serves another disk") {
  TempDir folder;
  const Bytes disk = test::random_bytes(5, kMiB);
  test::write_file(folder / "disk.raw", disk);
  auto server = std::make_unique<Server>(folder, std::vector<std::string>{"file", folder / "disk.raw"});
  const auto source = open_image(server->uri());
  CHECK(read_image(*source) == disk);
  server = nullptr;
  CHECK(error_of([&] { static_cast<void>(read_image(*source)); }).code() == ErrorCode::kIo);
  server = std::make_unique<Server>(folder, std::vector<std::string>{"file", folder / "disk.raw"});
  CHECK(read_image(*source) == disk);
  server = nullptr;
  fs::resize_file(folder / "disk.raw", 2 * kMiB);
  server = std::make_unique<Server>(folder, std::vector<std::string>{"file", folder / "disk.raw"});
  CHECK(contains(error_of([&] { static_cast<void>(read_image(*source)); }).what(), "replaced"));
}

TEST_CASE("a server that claims an absurd size is refused") {
  TempDir folder;
  const Server server(folder, {"null", "size=1E"});
  CHECK(open_error(server.uri()).code() == ErrorCode::kLimit);
}

TEST_CASE("one tebibyte of zeros on an NBD server is known to be that at once") {
  TempDir folder;
  const Server server(folder, {"null", "size=1T"});
  const auto source = open_image(server.uri());
  CHECK(source->data_ranges(0, source->size()).empty());
}

TEST_CASE("an image described sector by sector is described right") {
  TempDir folder;
  // Every second cluster of the smallest kind.
  test::run_tool(
      {"qemu-img", "create", "-f", "qcow2", "-o", "cluster_size=512", folder / "disk.qcow2", "2M"});
  std::vector<std::string> writes{"qemu-io"};
  for (int i = 0; i < 200; ++i) {
    writes.insert(writes.end(), {"-c", "write -P 1 " + std::to_string(i * 1024) + " 512"});
  }
  writes.push_back(folder / "disk.qcow2");
  test::run_tool(writes);
  const auto source = open_image(folder / "disk.qcow2");
  CHECK(source->data_ranges(0, source->size()).size() == 200);
  CHECK(source->data_ranges(1024, 1024) == std::vector<ByteRange>{{1024, 512}});
}

TEST_CASE("no server, a silent one and one that speaks something else are errors, not hangs") {
  TempDir folder;
  const Error nobody = open_error("nbd+unix:///?socket=" + (folder / "nobody"));
  CHECK(nobody.code() == ErrorCode::kIo);
  CHECK(contains(nobody.what(), "nobody"));
  CHECK_FALSE(nobody.hint().empty());
  CHECK(open_error("nbd://127.0.0.1:1/x").code() == ErrorCode::kIo);

  const FileDescriptor listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, (folder / "silent").c_str());
  REQUIRE(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  REQUIRE(::listen(listener.get(), 4) == 0);
  const NbdPatience little{300ms, 300ms};
  const auto nothing = [] { return std::string(); };
  const NbdEndpoint endpoint{folder / "silent", {}};
  CHECK_THROWS_AS(NbdConnection(endpoint, little, nothing), NbdFailure);
  CHECK_THROWS_WITH(NbdConnection(endpoint, {}, [] { return std::string("it is gone"); }), "it is gone");

  std::thread speaker([&] {
    const FileDescriptor client(::accept(listener.get(), nullptr, nullptr));  // the first of those above
    const FileDescriptor second(::accept(listener.get(), nullptr, nullptr));
    const FileDescriptor third(::accept(listener.get(), nullptr, nullptr));
    static_cast<void>(!::write(third.get(), "SSH-2.0-OpenSSH_9.2\r\n", 21));
  });
  CHECK_THROWS_AS(NbdConnection(endpoint, NbdPatience{}, nothing), NbdFailure);
  speaker.join();
}

TEST_CASE("a server that falls silent in the middle of reading is given up") {
  TempDir folder;
  test::write_file(folder / "disk.raw", test::random_bytes(6, kMiB));
  const Server server(folder, {"--filter=delay", "file", folder / "disk.raw", "rdelay=5"});
  NbdConnection connection({folder / "sock", {}}, {10s, 300ms}, [] { return std::string(); });
  Bytes bytes(kMiB);
  try {
    connection.read(0, bytes);
    FAIL("the read was answered");
  } catch (const NbdFailure& failure) {
    CHECK(failure.connection_lost());
    CHECK(contains(failure.what(), "does not answer"));
  }
}

TEST_CASE("an NBD export takes no other format than raw") {
  CHECK(open_error("nbd://localhost/x", "qcow2").code() == ErrorCode::kInvalid);
}

}  // namespace
}  // namespace vmpack
