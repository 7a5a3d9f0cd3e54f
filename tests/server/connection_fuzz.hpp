// SPDX-License-Identifier: Apache-2.0
// A whole connection over a socket pair, for fuzz targets: what a client sends is the input. The image behind
// it aborts the program on any range that lies outside, and fails or is slow here and there.
#pragma once

#include <spdlog/logger.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <future>
#include <memory>

#include "server/connection.hpp"
#include "server/context.hpp"
#include "tests/server/fake_exports.hpp"

namespace vmpack::test {

inline constexpr std::size_t kFuzzImageBytes = 3 * kMiB / 2;

struct FuzzWorld {
  explicit FuzzWorld(Settings settings = {}) : policy(limited(std::move(settings))) {
    auto image =
        std::make_shared<FakeImage>(kFuzzImageBytes, std::vector<ByteRange>{{64 * kKiB, 512 * kKiB}});
    image->in_memory = [](std::uint64_t offset) { return offset / (256 * kKiB) % 2 == 0; };
    image->before_read = [](std::uint64_t offset) {
      if (offset % 7 == 0) throw Error(ErrorCode::kDamaged, "damaged");
    };
    catalog.add("web:v1", image);
    catalog.add("web@abcd", image, true);
    catalog.add("broken:v1", nullptr);
  }

  FakeCatalog catalog;
  ServerMetrics metrics;
  Budget budget{{64, 48 * kMiB}};
  asio::io_context network{1};
  asio::thread_pool workers{1};
  spdlog::logger log{"fuzz"};
  CurrentPolicy policy;
  ServerContext context{catalog, metrics, workers, budget, policy, log, nobody};

 private:
  static PolicyPtr limited(Settings settings) {
    settings.limits.bytes_in_flight = 48 * kMiB;
    return make_policy(settings);
  }
  static asio::awaitable<std::vector<ConnectionFacts>> nobody() { co_return std::vector<ConnectionFacts>(); }
};

inline asio::awaitable<void> send_all(Stream& stream, ByteView bytes) {
  std::array buffers{asio::const_buffer(bytes.data(), bytes.size())};
  try {
    co_await stream.write(buffers);
    stream.shut_down_send();
  } catch (const boost::system::system_error&) {
    // The server has had enough.
  }
}

inline asio::awaitable<void> receive_all(Stream& stream) {
  Bytes scratch(64 * kKiB);
  try {
    for (std::size_t bytes = scratch.size(); bytes > 0;) bytes = co_await stream.read_some(scratch);
  } catch (const boost::system::system_error&) {
    // Closed with something of ours unread.
  }
}

/// `make_session` makes a Connection of a Socket. Afterwards nothing of the budget may be taken.
template <typename MakeSession>
void run_connection(FuzzWorld& world, ByteView input, MakeSession make_session) {
  std::array<int, 2> pair{};
  VMPACK_ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) == 0);
  asio::io_context& network = world.network;
  network.restart();
  const asio::generic::stream_protocol protocol(AF_UNIX, 0);
  {
    Stream client(Socket(network, protocol, pair[0]));
    const std::shared_ptr<Connection> session = make_session(Socket(network, protocol, pair[1]));
    asio::co_spawn(network, send_all(client, input), asio::detached);
    asio::co_spawn(network, receive_all(client), asio::detached);
    asio::co_spawn(network, session->run(), asio::detached);
    network.run();
    world.metrics.count_traffic(session->protocol(), session->take_traffic());
  }
  // What workers still do for a connection that has ended.
  std::promise<void> idle;
  asio::post(world.workers, [&idle] { idle.set_value(); });
  idle.get_future().wait();
  network.restart();
  network.run();
  VMPACK_ASSERT(world.budget.taken().requests == 0 && world.budget.taken().bytes == 0);
}

}  // namespace vmpack::test
