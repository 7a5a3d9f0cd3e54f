// SPDX-License-Identifier: Apache-2.0
#include "server/nbd/session.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/logger.h>

#include <algorithm>
#include <array>
#include <utility>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "server/connection_record.hpp"

namespace vmpack::nbd {
Session::Session(Socket socket, ServerContext& server, Client client)
    : server_(server),
      executor_(socket.get_executor()),
      stream_(std::make_shared<Stream>(std::move(socket))),
      policy_(server.policy()),
      client_(std::move(client)),
      phase_began_(std::chrono::steady_clock::now()) {}

asio::awaitable<void> Session::run() {
  try {
    auto agreement = co_await negotiate();
    if (agreement && !stopping_) co_await transmit(std::move(*agreement));
    co_await say_farewell();
  } catch (const boost::system::system_error& error) {
    server_.log.debug("{}: the connection broke: {}", client_.peer, error.code().message());
  } catch (const Error& error) {
    server_.log.warn("{}: closed: {}", client_.peer, error.what());
  } catch (const std::exception& error) {
    server_.log.error("{}: closed: {}", client_.peer, error.what());
  }
  stream_->close();
}

void Session::stop() {
  stopping_ = true;
  if (phase_ == Phase::kHandshake && !answering_) close();
  if (phase_ == Phase::kTransmission) transmission_->stop();
}

void Session::close() { stream_->close(); }

void Session::check_deadlines(std::chrono::steady_clock::time_point now) {
  const auto phase_seconds = now - phase_began_;
  if (phase_ == Phase::kHandshake && phase_seconds > policy_->limits.handshake) {
    server_.log.info("{}: closed, its handshake took longer than {}", client_.peer,
                     policy_->limits.handshake);
    close();
  } else if (phase_ == Phase::kFarewell && phase_seconds > policy_->limits.linger) {
    close();
  } else if (const auto since = stream_->stalled_since();
             since && now - *since > policy_->limits.send_stall) {
    server_.log.warn("{}: closed, it has taken no data for {}", client_.peer, policy_->limits.send_stall);
    close();
  } else if (phase_ == Phase::kTransmission) {
    check_idle(now);
  }
}

void Session::check_idle(std::chrono::steady_clock::time_point now) {
  const auto requests = transmission_->statistics().requests;
  const auto idle = policy_->limits.idle;
  if (std::exchange(requests_seen_, requests) != requests) last_request_ = now;
  if (idle.count() == 0 || now - std::max(last_request_, phase_began_) <= idle) return;
  server_.log.info("{}: closed, it has asked for nothing for {}", client_.peer, idle);
  transmission_->stop();
}

ConnectionFacts Session::facts() const {
  return {.protocol = protocol(),
          .client = client_,
          .reference = transmission_ ? transmission_->reference() : std::string(),
          .since = began_,
          .traffic = transmission_ ? transmission_->statistics() : Traffic()};
}

ReferenceTraffic Session::take_traffic() {
  if (!transmission_) return {};
  const Traffic now = transmission_->statistics();
  return {transmission_->reference(), now - std::exchange(told_, now)};
}

void Session::enter(Phase phase) {
  phase_ = phase;
  phase_began_ = std::chrono::steady_clock::now();
}

// ---- handshake ----

asio::awaitable<std::optional<Agreement>> Session::negotiate() {
  Handshake handshake(server_.catalog, *policy_, server_.log, client_);
  const auto greeting = encode_greeting();
  co_await send(greeting);
  std::array<std::byte, kClientFlagsBytes> flags{};
  const bool complete = co_await stream_->read_all(flags);
  if (!complete) co_return std::nullopt;
  if (!handshake.accept_client_flags(*WireReader(flags).number<std::uint32_t>())) {
    server_.log.warn("{}: closed, it set unknown client flags", client_.peer);
    co_return std::nullopt;
  }
  for (std::uint32_t options = 0; options < kOptionsMax; ++options) {
    const auto header = co_await next_option();
    if (!header) co_return std::nullopt;
    answering_ = true;
    // Among the answers only a list can be large, and a flood of clients may ask for it.
    std::optional<BudgetShare> share;
    if (header->option == Option::kList) {
      const Claim claim{1, kListReplyBytesMax};
      co_await take(server_.budget, claim);
      share.emplace(server_.budget, claim);
    }
    auto answer = co_await answer_option(handshake, *header);
    if (!answer) co_return std::nullopt;
    if (stopping_) answer = handshake.answer_stopping(header->option);
    co_await send(answer->reply);
    answering_ = false;
    if (answer->next == Handshake::Next::kClose) co_return std::nullopt;
    if (answer->next == Handshake::Next::kTls) {
      const bool started = co_await start_tls(handshake);
      if (!started) co_return std::nullopt;
    }
    if (answer->next == Handshake::Next::kTransmission) co_return handshake.agreement();
  }
  server_.log.warn("{}: closed, it sent {} options and chose no export", client_.peer, kOptionsMax);
  co_return std::nullopt;
}

asio::awaitable<std::optional<OptionHeader>> Session::next_option() {
  std::array<std::byte, kOptionHeaderBytes> bytes{};
  const bool complete = co_await stream_->read_all(bytes);
  if (!complete) co_return std::nullopt;
  const auto header = decode_option_header(bytes);
  if (!header || header->bytes > kOptionSkippedBytesMax) {
    server_.log.warn("{}: closed, what it sent is no option", client_.peer);
    co_return std::nullopt;
  }
  co_return header;
}

asio::awaitable<std::optional<Handshake::Answer>> Session::answer_option(Handshake& handshake,
                                                                         OptionHeader header) {
  if (header.bytes > kOptionBytesMax) {
    const bool skipped = co_await skip(header.bytes);
    if (!skipped) co_return std::nullopt;
    co_return handshake.answer_oversized(header.option);
  }
  Bytes data(header.bytes);
  const bool complete = co_await stream_->read_all(data);
  if (!complete) co_return std::nullopt;
  const auto work = [&] { return handshake.answer(header.option, data); };
  auto answer = co_await run_on(server_.workers, work);
  co_return answer;
}

asio::awaitable<bool> Session::start_tls(Handshake& handshake) {
  try {
    // Whatever the client sent behind the option in plain is still in the socket, and is no TLS.
    TlsIdentity identity = co_await stream_->start_tls(*policy_->tls);
    note_identity(client_, std::move(identity));
  } catch (const Error& error) {
    server_.log.info("{}: closed, {}", client_.peer, error.what());
    co_return false;
  }
  handshake.begin_tls(client_);
  co_return true;
}

asio::awaitable<bool> Session::skip(std::uint32_t bytes) {
  Bytes scratch(kOptionBytesMax);
  while (bytes > 0) {
    const auto part = static_cast<std::uint32_t>(std::min<std::size_t>(bytes, scratch.size()));
    const bool complete = co_await stream_->read_all(ByteSpan(scratch).first(part));
    if (!complete) co_return false;
    bytes -= part;
  }
  co_return true;
}

asio::awaitable<void> Session::send(ByteView bytes) {
  std::array buffers{asio::const_buffer(bytes.data(), bytes.size())};
  co_await stream_->write(buffers);
}

// ---- transmission and farewell ----

asio::awaitable<void> Session::transmit(Agreement agreement) {
  const Export exported = agreement.exported;
  server_.log.debug("{}: opened {} ({})", client_.peer, exported.name, format_bytes(exported.image->size()));
  transmission_ = std::make_shared<Transmission>(stream_, executor_, server_, policy_->limits,
                                                 std::move(agreement), client_.peer);
  enter(Phase::kTransmission);
  std::exception_ptr error;
  try {
    co_await transmission_->run();
  } catch (...) {
    error = std::current_exception();
  }
  report(exported, error ? "lost" : "closed");
  if (error) std::rethrow_exception(error);
}

void Session::report(const Export& exported, std::string_view how) const {
  const ConnectionEnd end{how, stream_->has_tls(), exported.name, exported.snapshot.hex()};
  server_.log.info("{}", record_of(facts(), end).text());
}

asio::awaitable<void> Session::say_farewell() {
  // Closed with something unread, a TCP socket would be reset, and the client lose what it has not read yet.
  enter(Phase::kFarewell);
  stream_->shut_down_send();
  co_await stream_->discard_input();
}

}  // namespace vmpack::nbd
