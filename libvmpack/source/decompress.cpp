// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/decompress.hpp"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <vector>

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/source/raw_source.hpp"
#include "libvmpack/source/sandbox.hpp"

namespace vmpack {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

struct Compression {
  std::string_view name;
  std::string_view extension;
  std::string_view program;
  std::string_view package;
  std::array<const char*, 4> arguments;  ///< standard input to standard output, all streams, no chatter
};

// A window (zstd) or dictionary (xz) larger than 1 GiB is refused. xz decompresses files of several blocks
// with all processors.
constexpr std::array<Compression, 4> kCompressions{
    {{"gzip", ".gz", "gzip", "gzip", {"-dc"}},
     {"xz", ".xz", "xz", "xz-utils", {"-dc", "-q", "-T0", "--memlimit-decompress=1GiB"}},
     {"zstd", ".zst", "zstd", "zstd", {"-dc", "-q", "--no-progress", "--memory=1024MB"}},
     {"bzip2", ".bz2", "bzip2", "bzip2", {"-dc"}}}};

const Compression* find_compression(std::string_view name) {
  const auto* found = std::ranges::find(kCompressions, name, &Compression::name);
  return found == kCompressions.end() ? nullptr : found;
}

constexpr std::size_t kBufferBytes = 1 * kMiB;
constexpr std::uint64_t kAddressSpaceBytes = 4 * kGiB;
constexpr auto kStallMax = 120s;
constexpr auto kEndMax = 10s;

/// What a program complains of, without its own name and what it calls its standard input ("/usr/bin/xz:
/// (stdin): "): its first line, since bzip2 goes on with advice. Safe to show.
std::string first_words(std::string_view said, std::string_view program) {
  constexpr std::string_view kSpace = " \n";
  said.remove_prefix(std::min(said.find_first_not_of(kSpace), said.size()));
  said = said.substr(0, said.find('\n'));
  for (const std::string_view name : {program, std::string_view("stdin")}) {
    const std::size_t at = said.find(name);
    const std::size_t colon = at == std::string_view::npos ? at : said.find(": ", at);
    if (colon != std::string_view::npos) said.remove_prefix(colon + 2);
  }
  return printable(said.substr(0, said.find_last_not_of(" ;.") + 1));
}

/// The program at work. It shares our descriptor of the compressed file, and so the place in it.
class Decompressor {
 public:
  Decompressor(const Compression& compression, const std::string& path)
      : compression_(compression),
        input_(FileDescriptor::open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY)),
        input_bytes_(image_file_bytes(input_.get(), path)),
        output_(make_pipe()),
        child_(start()) {
    writer_.reset();
  }

  [[nodiscard]] std::uint64_t input_bytes() const { return input_bytes_; }
  /// How far it has read.
  [[nodiscard]] std::uint64_t input_done() const {
    const off_t at = ::lseek(input_.get(), 0, SEEK_CUR);
    return std::min(at < 0 ? 0 : static_cast<std::uint64_t>(at), input_bytes_);
  }

  /// Fills `into` from what it writes; less than all of it only at the end. Throws Error (kLimit) when it
  /// gets nowhere.
  std::size_t read(ByteSpan into) {
    std::size_t got = 0;
    while (got < into.size()) {
      wait_for_output();
      const ssize_t more = ::read(output_.get(), into.data() + got, into.size() - got);
      if (more < 0 && errno == EINTR) continue;
      if (more < 0) throw system_error(errno, "cannot read from", "a pipe");
      if (more == 0) break;
      got += static_cast<std::size_t>(more);
    }
    return got;
  }

  /// Empty when it has ended well and had nothing to say; else what is wrong.
  [[nodiscard]] std::string complaint() {
    const auto status = child_.wait_for(kEndMax);
    if (!status) return fmt::format("{} does not end", compression_.program);
    std::string said = first_words(child_.stderr_text(), compression_.program);
    if (!said.empty()) return said;
    return status->success() ? std::string()
                             : fmt::format("{} ended with {}", compression_.program, status->describe());
  }

 private:
  FileDescriptor make_pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw system_error(errno, "cannot make", "a pipe");
    ::fcntl(ends[0], F_SETPIPE_SZ, kBufferBytes);  // a wish: everything works with less
    writer_ = FileDescriptor(ends[1]);
    return FileDescriptor(ends[0]);
  }

  Child start() {
    SandboxPolicy policy;
    policy.address_space_bytes = kAddressSpaceBytes;
    policy.environment = {"MALLOC_ARENA_MAX=2"};  // or each thread of xz takes 64 MiB of addresses
    policy.cpu_seconds = 0;  // a large image takes what it takes; read() sees to it that it gets on
    std::vector<std::string> command{find_program(compression_.program, compression_.package)};
    for (const char* argument : compression_.arguments) {
      if (argument != nullptr) command.emplace_back(argument);
    }
    const std::array fds{FdMapping{input_.get(), STDIN_FILENO}, FdMapping{writer_.get(), STDOUT_FILENO}};
    return spawn_sandboxed(command, policy, fds);
  }

  void wait_for_output() {
    std::uint64_t done = input_done();
    for (auto waited = 0s; waited < kStallMax; waited += 1s) {
      pollfd watched{output_.get(), POLLIN, 0};
      if (::poll(&watched, 1, 1000) > 0) return;
      if (const std::uint64_t now = input_done(); now > done) {
        done = now;
        waited = 0s;
      }
    }
    throw Error(ErrorCode::kLimit,
                fmt::format("{} took {} s without getting on", compression_.program, kStallMax.count()));
  }

  const Compression& compression_;
  FileDescriptor writer_;
  FileDescriptor input_;
  std::uint64_t input_bytes_;
  FileDescriptor output_;
  Child child_;
};

}  // namespace

bool is_compression(std::string_view format) { return find_compression(format) != nullptr; }

std::string decompressed_name(const std::string& path) {
  const fs::path name = fs::path(path).filename();
  const bool known = std::ranges::find(kCompressions, name.extension().string(), &Compression::extension) !=
                     kCompressions.end();
  return known ? name.stem() : name;
}

TempImage decompress(const std::string& path, std::string_view compression, const std::string& shown,
                     Progress& progress) {
  const Compression* how = find_compression(compression);
  VMPACK_ASSERT(how != nullptr);
  TempImage image(fmt::format("to decompress {}", shown));
  Decompressor running(*how, path);
  progress.begin("decompressing", running.input_bytes());
  Bytes buffer(kBufferBytes);
  std::uint64_t done = 0;
  for (;;) {
    const std::size_t got = running.read(buffer);
    image.append(ByteView(buffer).first(got));
    const std::uint64_t now = std::max(done, running.input_done());
    progress.advance(now - done);
    done = now;
    if (got < buffer.size()) break;
  }
  progress.end();
  if (const std::string complaint = running.complaint(); !complaint.empty()) {
    const std::string what = fmt::format("cannot decompress {}: {}", shown, complaint);
    // xz and zstd say so of what was compressed with too large a dictionary or window.
    if (complaint.find("emory") != std::string::npos) {
      throw Error(ErrorCode::kLimit, what, "decompress it yourself, and give the result");
    }
    throw Error(
        ErrorCode::kDamaged, what,
        fmt::format("it is cut short or damaged: fetch it again, and try it with `{} -t`", how->program));
  }
  image.finish();
  return image;
}

}  // namespace vmpack
