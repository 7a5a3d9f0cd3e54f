// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/inspect_child.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/inspect/image_wire.hpp"
#include "libvmpack/source/sandbox.hpp"

namespace vmpack {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kResultBytes = 256 * kKiB;  // read at once, and the pipe's size

struct Channel {
  FileDescriptor ours;
  FileDescriptor theirs;
};

Channel make_image_channel() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw system_error(errno, "cannot make", "a socket pair");
  }
  Channel channel{FileDescriptor(ends[0]), FileDescriptor(ends[1])};
  // Only our end: a child that neither reads nor writes must not make us wait.
  ::fcntl(channel.ours.get(), F_SETFL, O_NONBLOCK);
  return channel;
}

Channel make_result_channel() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw system_error(errno, "cannot make", "a pipe");
  ::fcntl(ends[0], F_SETPIPE_SZ, kResultBytes);  // a wish: everything works with less
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

}  // namespace

/// Answers the child's requests for bytes, one after the other.
class InspectChild::ImageServer {
 public:
  ImageServer(Source& source, int socket)
      : source_(source), socket_(socket), outgoing_(sizeof(image_wire::Reply) + image_wire::kReadBytesMax) {}

  [[nodiscard]] short wanted_events() const { return to_send_.empty() ? POLLIN : POLLOUT; }

  /// Does what can be done without waiting. False when the child closed its end; throws Error on a
  /// nonsensical request.
  bool advance() {
    while (true) {
      if (!send_some()) return true;
      std::array<std::byte, sizeof(image_wire::Request)> more;
      const ssize_t got = ::recv(socket_, more.data(), more.size() - incoming_.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && errno == EAGAIN) return true;
      if (got <= 0) return false;
      append(incoming_, std::span(more).first(static_cast<std::size_t>(got)));
      if (incoming_.size() < more.size()) continue;
      answer(read_struct<image_wire::Request>(incoming_));
      incoming_.clear();
    }
  }

 private:
  void answer(const image_wire::Request& request) {
    const std::uint64_t size = source_.size();
    const bool inside = request.offset <= size && request.length <= size - request.offset;
    if (!inside || request.length == 0 || request.length > image_wire::kReadBytesMax) {
      throw Error(ErrorCode::kRefused, "the process that reads it asked for what is not there");
    }
    image_wire::Reply reply{request.length, 0};
    try {
      source_.read(request.offset, ByteSpan(outgoing_).subspan(sizeof(reply), request.length));
    } catch (const Error&) {
      reply = {0, 1};
    }
    std::memcpy(outgoing_.data(), &reply, sizeof(reply));
    to_send_ = ByteView(outgoing_).first(sizeof(reply) + reply.length);
  }

  /// True when nothing is left to send.
  bool send_some() {
    while (!to_send_.empty()) {
      const ssize_t put = ::send(socket_, to_send_.data(), to_send_.size(), MSG_NOSIGNAL);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return false;  // full; a closed end shows as such to poll()
      to_send_ = to_send_.subspan(static_cast<std::size_t>(put));
    }
    return true;
  }

  Source& source_;
  int socket_;
  Bytes incoming_;
  Bytes outgoing_;
  ByteView to_send_;  ///< in outgoing_
};

struct InspectChild::Running {
  FileDescriptor image;
  FileDescriptor result;
  Child child;
  ImageServer server;
  bool serving;  ///< the child asks us for bytes, and its end is open
  Bytes buffer = Bytes(kResultBytes);
  ByteView unread;  ///< in buffer: came with the report before
};

namespace {

std::string how_it_ended(Child& child) {
  constexpr auto kGrace = std::chrono::seconds(2);
  const auto status = child.wait_for(kGrace);
  const std::string said = child.stderr_last_line();
  if (status && status->signal != 0) {
    return fmt::format("the process that reads it died ({})", status->describe());
  }
  if (!said.empty()) return fmt::format("the process that reads it gave up: {}", said);
  return fmt::format("the process that reads it gave up ({})",
                     status ? status->describe() : "without a word");
}

std::vector<std::string> argv_of(const std::string& helper, const InspectOptions& options, std::string what) {
  return {helper, std::to_string(options.child_memory_bytes_max), std::move(what)};
}

void add_range(std::vector<std::string>& arguments, ByteRange range) {
  arguments.push_back(std::to_string(range.offset));
  arguments.push_back(std::to_string(range.length));
}

}  // namespace

std::unique_ptr<InspectChild> InspectChild::for_image(const std::string& helper, Source& source,
                                                      const InspectOptions& options) {
  auto arguments = argv_of(helper, options, "image");
  add_range(arguments, {0, source.size()});
  return std::unique_ptr<InspectChild>(new InspectChild(arguments, source, options));
}

std::unique_ptr<InspectChild> InspectChild::for_volumes(const std::string& helper, Source& source,
                                                        std::span<const Volume> volumes,
                                                        const InspectOptions& options) {
  auto arguments = argv_of(helper, options, "volumes");
  for (const Volume& volume : volumes) add_range(arguments, volume.range);
  return std::unique_ptr<InspectChild>(new InspectChild(arguments, source, options));
}

InspectChild::InspectChild(const std::vector<std::string>& arguments, Source& source,
                           const InspectOptions& options)
    : time_max_(options.child_time_max) {
  const int file = source.raw_descriptor();
  Channel image = file < 0 ? make_image_channel() : Channel{};
  Channel result = make_result_channel();
  const std::array<FdMapping, 2> descriptors{
      {{file < 0 ? image.theirs.get() : file, image_wire::kImageDescriptor},
       {result.theirs.get(), image_wire::kResultDescriptor}}};
  SandboxPolicy policy;
  policy.address_space_bytes = options.child_memory_bytes_max;
  policy.cpu_seconds = 0;  // next() keeps the time, for each report anew
  Child child = spawn_sandboxed(arguments, policy, descriptors);
  const int socket = image.ours.get();
  running_ = std::unique_ptr<Running>(new Running{std::move(image.ours), std::move(result.ours),
                                                  std::move(child), ImageServer(source, socket), file < 0});
}

InspectChild::~InspectChild() = default;

/// Serves and listens until the report is complete or the child's end of it is closed. Throws Error
/// otherwise.
void InspectChild::converse(LayoutStreamReader& reader) {
  Running& my = *running_;
  const auto deadline = Clock::now() + time_max_;
  my.unread = my.unread.subspan(reader.feed(my.unread));
  while (!reader.ended()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) throw Error(ErrorCode::kLimit, "the process that reads it took too long and was stopped");
    std::array<pollfd, 2> waiting{
        {{my.result.get(), POLLIN, 0}, {my.serving ? my.image.get() : -1, my.server.wanted_events(), 0}}};
    if (::poll(waiting.data(), waiting.size(), static_cast<int>(std::min<long long>(left, 60'000))) < 0) {
      if (errno == EINTR) continue;
      throw system_error(errno, "cannot wait for", "the process that reads it");
    }
    if (waiting[1].revents != 0) {
      my.serving = my.server.advance() && (waiting[1].revents & (POLLHUP | POLLERR)) == 0;
    }
    if (waiting[0].revents != 0) {
      const ssize_t got = ::read(my.result.get(), my.buffer.data(), my.buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return;
      my.unread = ByteView(my.buffer).first(static_cast<std::size_t>(got));
      my.unread = my.unread.subspan(reader.feed(my.unread));
    }
  }
}

ChildReport InspectChild::next(LayoutStreamReader::Expect expect, ByteRange range) {
  ChildReport report;
  LayoutStreamReader reader(expect, range);
  try {
    converse(reader);
    if (!reader.ended()) report.failure = how_it_ended(running_->child);
  } catch (const Error& error) {
    report.failure = error.what();
  }
  if (report.failure.empty()) {
    report.warning = reader.table_warning();
    report.layout = reader.take();
  }
  return report;
}

}  // namespace vmpack
