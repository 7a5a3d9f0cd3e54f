// SPDX-License-Identifier: Apache-2.0
#include "server/server.hpp"

#include <fmt/format.h>
#include <netdb.h>
#include <spdlog/logger.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <optional>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "server/address_counts.hpp"
#include "server/async.hpp"
#include "server/connection.hpp"
#include "server/context.hpp"
#include "server/http/session.hpp"
#include "server/http/site.hpp"
#include "server/metrics.hpp"
#include "server/nbd/session.hpp"

namespace vmpack {
namespace {

using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;
using ConnectionPtr = std::shared_ptr<Connection>;

constexpr std::chrono::seconds kDeadlineCheck{1};
constexpr std::chrono::milliseconds kAcceptRetry{100};

void tell(ServerMetrics& metrics, Connection& connection) {
  metrics.count_traffic(connection.protocol(), connection.take_traffic());
}

/// A loop of its own, and the connections that live on it. All but `load` belongs to its thread.
struct NetworkThread {
  asio::io_context context{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard{context.get_executor()};
  std::unordered_set<ConnectionPtr> connections;
  std::atomic<std::size_t> load = 0;  // connections assigned to it
  std::atomic<std::chrono::steady_clock::time_point> came_round = std::chrono::steady_clock::now();
  std::thread thread;

  asio::awaitable<void> check_deadlines(ServerMetrics& metrics) {
    asio::steady_timer timer(context);
    for (;;) {
      timer.expires_after(kDeadlineCheck);
      co_await timer.async_wait(asio::use_awaitable);
      const auto now = std::chrono::steady_clock::now();
      came_round = now;
      for (const ConnectionPtr& connection : connections) {
        connection->check_deadlines(now);
        tell(metrics, *connection);
      }
    }
  }
};

Client describe_client(Socket& socket) {
  boost::system::error_code error;
  const auto endpoint = socket.remote_endpoint(error);
  if (error) return {.peer = "a client"};
  if (endpoint.protocol().family() == AF_UNIX) {
    ucred credentials{};
    socklen_t bytes = sizeof(credentials);
    ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERCRED, &credentials, &bytes);
    return {.peer = fmt::format("unix (pid {})", credentials.pid), .local = true};
  }
  std::array<char, NI_MAXHOST> host{};
  std::array<char, NI_MAXSERV> port{};
  ::getnameinfo(endpoint.data(), static_cast<socklen_t>(endpoint.size()), host.data(), host.size(),
                port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV);
  return {.peer = fmt::format("{}:{}", host.data(), port.data()),
          .address = parse_ip_address(host.data()).value_or(IpAddress{})};
}

}  // namespace

struct Server::State {
  State(ExportCatalog& catalog, ServerMetrics& metrics, const PolicyPtr& policy, ServerThreads count,
        spdlog::logger& logger)
      : current_policy(policy),
        budget({policy->limits.requests_in_flight, policy->limits.bytes_in_flight}),
        threads(count.network),
        workers(count.workers),
        context{catalog, metrics, workers, budget, current_policy, logger, [this] { return survey(); }} {
    for (NetworkThread& network : threads) {
      asio::co_spawn(network.context, network.check_deadlines(metrics), asio::detached);
      network.thread = std::thread([&network] { network.context.run(); });
    }
  }

  NetworkThread& least_loaded() {
    return *std::ranges::min_element(threads, {},
                                     [](const NetworkThread& network) { return network.load.load(); });
  }

  asio::awaitable<void> accept_clients(std::shared_ptr<Acceptor> acceptor, Protocol protocol);
  void admit(NetworkThread& network, Socket socket, Protocol protocol);
  ConnectionPtr make_connection(Socket socket, Client client, Protocol protocol);
  void listen(Listener listener, Protocol protocol);
  asio::awaitable<std::vector<ConnectionFacts>> survey();
  void start(NetworkThread& network, const ConnectionPtr& connection,
             const std::optional<IpAddress>& address);
  void finish_stop();

  template <typename Function>
  void on_every_thread(Function function) {
    for (NetworkThread& network : threads)
      asio::post(network.context, [&network, function] { function(network); });
  }

  // Destroyed from the last to the first: what is further down refers to what is further up.
  CurrentPolicy current_policy;
  Budget budget;
  std::vector<Listener> nbd_listeners;
  std::vector<Listener> http_listeners;
  http::Site* site = nullptr;
  std::vector<NetworkThread> threads;
  std::vector<std::shared_ptr<Acceptor>> nbd_acceptors;  // touched on the first network thread
  asio::thread_pool workers;
  ServerContext context;
  std::atomic<std::size_t> connections = 0;
  AddressCounts per_address;
  std::atomic<bool> stopping = false;
  bool stopped = false;
};

asio::awaitable<void> Server::State::accept_clients(std::shared_ptr<Acceptor> acceptor, Protocol protocol) {
  asio::steady_timer retry(threads.front().context);
  while (acceptor->is_open()) {
    NetworkThread& network = least_loaded();
    const asio::any_io_executor executor = network.context.get_executor();
    boost::system::error_code error;
    auto token = asio::redirect_error(asio::use_awaitable, error);
    Socket socket = co_await acceptor->async_accept(executor, token);
    if (!error) {
      admit(network, std::move(socket), protocol);
    } else if (error != asio::error::operation_aborted && error != asio::error::connection_aborted) {
      // Out of descriptors, most likely: clients wait in the backlog until some are free again.
      context.log.error("cannot accept a connection: {}", error.message());
      retry.expires_after(kAcceptRetry);
      co_await retry.async_wait(asio::use_awaitable);
    }
  }
}

ConnectionPtr Server::State::make_connection(Socket socket, Client client, Protocol protocol) {
  if (protocol == Protocol::kHttp)
    return std::make_shared<http::Session>(std::move(socket), context, *site, std::move(client));
  return std::make_shared<nbd::Session>(std::move(socket), context, std::move(client));
}

void Server::State::admit(NetworkThread& network, Socket socket, Protocol protocol) {
  Client client = describe_client(socket);
  const PolicyPtr policy = current_policy.get();
  if (connections >= policy->limits.connections) {
    context.metrics.count_refused_connection();
    context.log.warn("{}: refused, {} connections are open", client.peer, policy->limits.connections);
    return;
  }
  if (!client.local && !per_address.add(client.address, policy->limits.connections_per_address)) {
    context.metrics.count_refused_connection();
    context.log.warn("{}: refused, its address has {} connections open", client.peer,
                     policy->limits.connections_per_address);
    return;
  }
  context.metrics.count_connection(protocol);
  ++connections;
  ++network.load;
  const auto address = client.local ? std::nullopt : std::optional(client.address);
  auto connection = make_connection(std::move(socket), std::move(client), protocol);
  asio::post(network.context, [this, &network, connection, address] { start(network, connection, address); });
}

void Server::State::start(NetworkThread& network, const ConnectionPtr& connection,
                          const std::optional<IpAddress>& address) {
  network.connections.insert(connection);
  if (stopping) connection->stop();
  const auto ended = [this, &network, connection, address](const std::exception_ptr&) {
    tell(context.metrics, *connection);
    network.connections.erase(connection);
    --network.load;
    --connections;
    if (address) per_address.remove(*address);
  };
  asio::co_spawn(network.context, connection->run(), ended);
}

asio::awaitable<std::vector<ConnectionFacts>> Server::State::survey() {
  std::vector<ConnectionFacts> all;
  for (NetworkThread& network : threads) {
    auto there = asio::bind_executor(network.context.get_executor(), asio::use_awaitable);
    co_await asio::post(there);
    for (const ConnectionPtr& connection : network.connections) {
      all.push_back(connection->facts());
      tell(context.metrics, *connection);
    }
  }
  co_await asio::post(asio::use_awaitable);
  co_return all;
}

void Server::State::finish_stop() {
  if (std::exchange(stopped, true)) return;
  stopping = true;
  nbd_listeners.clear();
  http_listeners.clear();
  for (NetworkThread& network : threads) network.context.stop();
  for (NetworkThread& network : threads) network.thread.join();
  budget.forget_waiting();
  workers.stop();
  workers.join();
}

Server::Server(ExportCatalog& catalog, ServerMetrics& metrics, PolicyPtr policy, ServerThreads threads,
               spdlog::logger& log)
    : state_(std::make_unique<State>(catalog, metrics, policy, threads, log)) {}

Server::~Server() { finish_stop(); }

void Server::State::listen(Listener listener, Protocol protocol) {
  NetworkThread& first = threads.front();
  const asio::generic::stream_protocol socket_protocol(listener.family(), 0);
  auto acceptor = std::make_shared<Acceptor>(first.context, socket_protocol, listener.release_descriptor());
  (protocol == Protocol::kNbd ? nbd_listeners : http_listeners).push_back(std::move(listener));
  asio::post(first.context, [this, acceptor, protocol] {
    if (protocol == Protocol::kNbd) nbd_acceptors.push_back(acceptor);
    asio::co_spawn(threads.front().context, accept_clients(acceptor, protocol), asio::detached);
  });
}

void Server::serve_nbd(Listener listener) { state_->listen(std::move(listener), Protocol::kNbd); }

void Server::serve_http(Listener listener, http::Site& site) {
  state_->site = &site;
  state_->listen(std::move(listener), Protocol::kHttp);
}

void Server::set_policy(PolicyPtr policy) {
  const auto in_flight = [](const PolicyPtr& of) {
    return std::pair(of->limits.requests_in_flight, of->limits.bytes_in_flight);
  };
  if (in_flight(policy) != in_flight(state_->current_policy.get())) {
    state_->context.log.warn("what all connections may have in flight stays as it was until a restart");
  }
  state_->current_policy.set(std::move(policy));
}

std::size_t Server::connections() const { return state_->connections; }

std::chrono::steady_clock::duration Server::longest_silence() const {
  const auto now = std::chrono::steady_clock::now();
  auto longest = std::chrono::steady_clock::duration::zero();
  for (const NetworkThread& network : state_->threads)
    longest = std::max(longest, now - network.came_round.load());
  return longest;
}

void Server::begin_stop() {
  state_->stopping = true;
  state_->nbd_listeners.clear();
  asio::post(state_->threads.front().context, [state = state_.get()] {
    for (const auto& acceptor : state->nbd_acceptors) acceptor->close();
  });
  state_->on_every_thread([](NetworkThread& network) {
    for (const ConnectionPtr& connection : network.connections) connection->stop();
  });
}

void Server::finish_stop() { state_->finish_stop(); }

}  // namespace vmpack
