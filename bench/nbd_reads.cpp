// SPDX-License-Identifier: Apache-2.0
// Reads 4 KiB at given places of an NBD export, each once, over several connections: vmpack-nbd-reads URI
// CONNECTIONS DEPTH < offsets. Prints the seconds from the first request to the last reply.
#include <fmt/core.h>
#include <libnbd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kReadBytes = 4096;

struct Closer {
  void operator()(nbd_handle* handle) const { nbd_close(handle); }
};
using Handle = std::unique_ptr<nbd_handle, Closer>;

[[noreturn]] void fail(const char* what) {
  fmt::print(stderr, "vmpack-nbd-reads: {}: {}\n", what, nbd_get_error());
  std::exit(1);
}

/// One connection: takes the next offset whenever one of its `depth` requests is answered.
void read_all(nbd_handle* handle, const std::vector<std::uint64_t>& offsets, std::atomic<std::size_t>& next,
              unsigned depth) {
  std::vector<char> buffer(depth * kReadBytes);
  std::vector<std::int64_t> cookies(depth, 0);
  bool more = true;
  while (more || nbd_aio_in_flight(handle) > 0) {
    for (unsigned slot = 0; slot < depth; ++slot) {
      if (cookies[slot] > 0) {
        const int done = nbd_aio_command_completed(handle, static_cast<std::uint64_t>(cookies[slot]));
        if (done < 0) fail("a read failed");
        if (done == 0) continue;
        cookies[slot] = 0;
      }
      const std::size_t index = next++;
      more = index < offsets.size();
      if (!more) continue;
      cookies[slot] = nbd_aio_pread(handle, &buffer[slot * kReadBytes], kReadBytes, offsets[index],
                                    NBD_NULL_COMPLETION, 0);
      if (cookies[slot] < 0) fail("cannot read");
    }
    if (nbd_aio_in_flight(handle) > 0 && nbd_poll(handle, -1) < 0) fail("the connection broke");
  }
}

unsigned number(const char* text) { return static_cast<unsigned>(std::strtoul(text, nullptr, 10)); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 || number(argv[2]) == 0 || number(argv[3]) == 0) {
    fmt::print(stderr, "usage: vmpack-nbd-reads URI CONNECTIONS DEPTH < OFFSETS\n");
    return 2;
  }
  std::vector<std::uint64_t> offsets;
  for (std::uint64_t offset = 0; std::cin >> offset;) offsets.push_back(offset);
  std::vector<Handle> handles;
  for (unsigned i = 0; i < number(argv[2]); ++i) {
    handles.emplace_back(nbd_create());
    if (!handles.back() || nbd_connect_uri(handles.back().get(), argv[1]) < 0) fail("cannot connect");
  }
  std::atomic<std::size_t> next = 0;
  const auto began = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> threads;
    for (const Handle& handle : handles)
      threads.emplace_back([&] { read_all(handle.get(), offsets, next, number(argv[3])); });
  }
  fmt::print("{:.4f}\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  return 0;
}
