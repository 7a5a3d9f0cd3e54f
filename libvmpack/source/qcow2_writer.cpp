// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/qcow2_writer.hpp"

#include <fmt/core.h>
#include <libnbd.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/source/sandbox.hpp"

namespace vmpack {
namespace {

constexpr std::chrono::seconds kStartTimeMax{10};
constexpr std::string_view kPackage = "qemu-utils";

pid_t start(const std::vector<std::string>& arguments) {
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, argv[0], nullptr, nullptr, argv.data(), environ);
  if (error != 0) throw system_error(error, "cannot start", arguments[0]);
  return pid;
}

bool wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) return false;
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/// The qcow2 file at `path`, written through QEMU's filter that compresses.
std::string compressed_image(const std::string& path) {
  std::string escaped;
  for (const char c : path) escaped.append(c == ',' ? 2 : 1, c);
  return "driver=compress,file.driver=qcow2,file.file.driver=file,file.file.filename=" + escaped;
}

struct CloseHandle {
  void operator()(nbd_handle* handle) const { nbd_close(handle); }
};
using Handle = std::unique_ptr<nbd_handle, CloseHandle>;

}  // namespace

struct Qcow2Writer::State {
  std::string path;
  std::uint64_t image_bytes = 0;
  bool compress = false;
  std::string folder;  // of the socket, private
  std::string socket;
  pid_t server = -1;
  std::mutex mutex;
  std::vector<Handle> idle;

  ~State() {
    idle.clear();
    if (server > 0) {
      ::kill(server, SIGTERM);
      wait_for(server);
    }
    ::unlink(socket.c_str());
    ::rmdir(folder.c_str());
  }

  [[noreturn]] void fail(std::string_view doing) const {
    const char* said = nbd_get_error();
    throw Error(ErrorCode::kIo,
                fmt::format("cannot {} {}: {}", doing, path, said == nullptr ? "qemu-nbd failed" : said),
                "check that there is enough space");
  }

  Handle connect() const {
    const auto deadline = std::chrono::steady_clock::now() + kStartTimeMax;
    while (true) {
      Handle handle(nbd_create());
      if (!handle) fail("write");
      if (nbd_connect_unix(handle.get(), socket.c_str()) == 0) return handle;
      if (std::chrono::steady_clock::now() > deadline || ::kill(server, 0) != 0) fail("write");
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  Handle take() {
    {
      const std::lock_guard lock(mutex);
      if (!idle.empty()) {
        Handle handle = std::move(idle.back());
        idle.pop_back();
        return handle;
      }
    }
    return connect();
  }

  [[nodiscard]] bool cut_to_size() const {
    if (image_bytes % kQcow2ClusterBytes == 0) return true;
    return wait_for(start({find_program("qemu-img", kPackage), "resize", "-q", "-f", "qcow2", "--shrink",
                           path, fmt::format("{}", image_bytes)}));
  }

  void give_back(Handle handle) {
    const std::lock_guard lock(mutex);
    idle.push_back(std::move(handle));
  }
};

Qcow2Writer::Qcow2Writer(const std::string& path, std::uint64_t image_bytes, bool compress)
    : state_(std::make_unique<State>()) {
  state_->path = path;
  state_->image_bytes = image_bytes;
  state_->compress = compress;
  // QEMU writes compressed clusters only as a whole, also the last one: finish() cuts the image to its size.
  const std::uint64_t made_bytes = compress ? round_up(image_bytes, kQcow2ClusterBytes) : image_bytes;
  const std::string options =
      fmt::format("cluster_size={}{}", kQcow2ClusterBytes, compress ? ",compression_type=zstd" : "");
  if (!wait_for(start({find_program("qemu-img", kPackage), "create", "-q", "-f", "qcow2", "-o", options, path,
                       fmt::format("{}", made_bytes)}))) {
    throw Error(ErrorCode::kIo, fmt::format("qemu-img could not make {}", path));
  }
  std::string folder = "/tmp/vmpack-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) throw system_error(errno, "cannot make", folder);
  state_->folder = folder;
  state_->socket = folder + "/socket";
  // Without -t it ends with its last client, also when this process is killed.
  std::vector<std::string> server = {find_program("qemu-nbd", kPackage), "--cache=writeback", "--shared=0",
                                     "--socket", state_->socket};
  if (compress) {
    server.insert(server.end(), {"--image-opts", compressed_image(path)});
  } else {
    server.insert(server.end(), {"-f", "qcow2", path});
  }
  state_->server = start(server);
  state_->give_back(state_->connect());
}

Qcow2Writer::~Qcow2Writer() = default;

void Qcow2Writer::write(std::uint64_t offset, ByteView bytes) {
  Bytes padded;
  if (state_->compress && bytes.size() % kQcow2ClusterBytes != 0) {
    padded.assign(bytes.begin(), bytes.end());
    padded.resize(round_up(bytes.size(), kQcow2ClusterBytes));
    bytes = padded;
  }
  Handle handle = state_->take();
  if (nbd_pwrite(handle.get(), bytes.data(), bytes.size(), offset, 0) != 0) state_->fail("write");
  state_->give_back(std::move(handle));
}

void Qcow2Writer::finish() {
  Handle handle = state_->take();
  if (nbd_flush(handle.get(), 0) != 0) state_->fail("finish");
  handle.reset();
  state_->idle.clear();
  const pid_t server = std::exchange(state_->server, -1);
  const bool finished = wait_for(server) && (!state_->compress || state_->cut_to_size());
  if (!finished) throw Error(ErrorCode::kIo, fmt::format("QEMU could not finish {}", state_->path));
}

}  // namespace vmpack
