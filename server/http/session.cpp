// SPDX-License-Identifier: Apache-2.0
#include "server/http/session.hpp"

#include <spdlog/logger.h>

#include <array>
#include <boost/asio/error.hpp>
#include <ctime>
#include <span>
#include <utility>
#include <variant>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "server/connection_record.hpp"
#include "server/http/credentials.hpp"
#include "server/tls.hpp"

namespace vmpack::http {
namespace {

/// How long a connection takes a tag for what it was.
constexpr std::chrono::seconds kNameKept{1};

}  // namespace

Session::Session(Socket socket, ServerContext& server, Site& site, Client client)
    : server_(server),
      site_(site),
      stream_(std::move(socket)),
      policy_(server.policy()),
      client_(std::move(client)) {}

asio::awaitable<void> Session::run() {
  running_ = true;
  std::string_view how = "lost";
  try {
    bool goes_on = true;
    if (policy_->https) goes_on = co_await start_tls();
    while (goes_on) goes_on = co_await serve_one();
    how = "closed";
    // Closed with something unread, a TCP socket would be reset, and the client lose what it has not read
    // yet.
    enter(Phase::kFarewell);
    stream_.shut_down_send();
    co_await stream_.discard_input();
  } catch (const boost::system::system_error& error) {
    server_.log.debug("{}: the connection broke: {}", client_.peer, error.code().message());
  } catch (const std::exception& error) {
    server_.log.error("{}: closed: {}", client_.peer, error.what());
  }
  server_.log.info("{}", record_of(facts(), {how, stream_.has_tls(), reference_, {}}).text());
  stream_.close();
}

void Session::stop() {
  stopping_ = true;
  if (running_ && phase_ == Phase::kWaiting) stream_.interrupt_read();
}

void Session::check_deadlines(std::chrono::steady_clock::time_point now) {
  const ServerLimits& limits = policy_->limits;
  const auto phase_time = now - phase_began_;
  if (phase_ == Phase::kWaiting && phase_time > limits.handshake) stream_.close();
  if (phase_ == Phase::kFarewell && phase_time > limits.linger) stream_.close();
  if (const auto since = stream_.stalled_since(); since && now - *since > limits.send_stall) {
    server_.log.warn("{}: closed, it has taken no data for {} s", client_.peer, limits.send_stall.count());
    stream_.close();
  }
}

void Session::enter(Phase phase) {
  phase_ = phase;
  phase_began_ = std::chrono::steady_clock::now();
}

// ---- what it has carried ----

ConnectionFacts Session::facts() const {
  ConnectionFacts facts{.protocol = protocol(),
                        .client = client_,
                        .reference = reference_,
                        .since = began_,
                        .traffic = traffic_};
  facts.client.token = token_;
  return facts;
}

ReferenceTraffic Session::take_traffic() { return {reference_, traffic_ - std::exchange(told_, traffic_)}; }

void Session::count_for(const std::string& reference) {
  if (reference == reference_) return;
  server_.metrics.count_traffic(Protocol::kHttp, take_traffic());
  reference_ = reference;
}

// ---- requests ----

asio::awaitable<bool> Session::start_tls() {
  try {
    TlsIdentity identity = co_await stream_.start_tls(*policy_->tls);
    note_identity(client_, std::move(identity));
  } catch (const Error& error) {
    server_.log.info("{}: closed, {}", client_.peer, error.what());
    co_return false;
  }
  co_return true;
}

asio::awaitable<bool> Session::serve_one() {
  enter(Phase::kWaiting);
  const auto parsed = co_await next_request();
  if (!parsed) co_return false;
  enter(Phase::kAnswering);
  if (const auto* refusal = std::get_if<Refusal>(&*parsed)) {
    ++traffic_.requests;
    server_.log.info("{}: refused: {}", client_.peer, refusal->message);
    const Request unknown;
    const Answer answer = error_answer(refusal->status, refusal->message);
    co_await send_text(unknown, answer, false);
    co_return false;
  }
  const auto& [request, bytes] = std::get<ParsedRequest>(*parsed);
  input_.erase(0, bytes);
  const Target target = find_target(request.path);
  std::optional<BudgetShare> share;
  if (is_large(target.kind)) {
    const Claim claim{1, kPageBytesMax};
    co_await take(server_.budget, claim);
    share.emplace(server_.budget, claim);
  }
  Answer answer = co_await answer_to(request, target);
  if (share) share->shrink_to(answer.body.size());
  const bool keep_alive = request.keep_alive && !request.has_body && !stopping_;
  co_await send(request, std::move(answer), keep_alive);
  co_return keep_alive;
}

asio::awaitable<std::optional<ParseResult>> Session::next_request() {
  for (;;) {
    ParseResult result = parse_request(input_);
    if (!std::holds_alternative<Incomplete>(result)) co_return result;
    const std::size_t bytes = co_await receive();
    if (bytes == 0) co_return std::nullopt;
  }
}

asio::awaitable<std::size_t> Session::receive() {
  const std::size_t old_bytes = input_.size();
  input_.resize(kHeaderBytesMax);
  std::size_t bytes = 0;
  try {
    bytes = co_await stream_.read_some(std::as_writable_bytes(std::span(input_)).subspan(old_bytes));
  } catch (const boost::system::system_error& error) {
    if (!stopping_ || error.code() != asio::error::operation_aborted) throw;
  }
  input_.resize(old_bytes + bytes);
  co_return bytes;
}

bool Session::is_known(const Request& request) const {
  if (!last_.resource || last_.path != request.path || last_.authorization != request.authorization)
    return false;
  if (stopping_ || request.method == Method::kOther || request.has_body) return false;
  return last_.resource->fixed || std::chrono::steady_clock::now() - last_.found < kNameKept;
}

asio::awaitable<Answer> Session::answer_to(const Request& request, const Target& target) {
  if (is_known(request)) co_return resource_answer(request, last_.resource);
  Client client = client_;
  const bool asks_tokens = !policy_->tokens.empty();
  if (asks_tokens && !request.authorization.empty()) {
    const auto secret = shown_secret(request.authorization);
    if (const auto name = secret ? policy_->tokens.name_of(*secret) : std::nullopt) client.token = *name;
  }
  token_ = client.token;
  const Visitor visitor{client, policy_->access, asks_tokens && client.token.empty()};
  LiveFacts live;
  if (needs_live_facts(target.kind)) {
    live.connections = co_await server_.survey();
  }
  live.stopping = stopping_;
  const Sources sources{server_.catalog, site_, server_.metrics, server_.log};
  const auto work = [&] { return answer(request, target, visitor, sources, live); };
  Answer made = co_await run_on(server_.workers, work);
  if (made.resource)
    last_ = {request.path, request.authorization, made.resource, std::chrono::steady_clock::now()};
  co_return made;
}

// ---- answers ----

asio::awaitable<void> Session::send(const Request& request, Answer answer, bool keep_alive) {
  count_for(answer.resource ? answer.resource->reference : std::string());
  ++traffic_.requests;
  if (answer.status >= 500) ++traffic_.failures;
  if (request.method == Method::kHead || answer.range.length == 0) {
    co_await send_text(request, answer, keep_alive);
  } else {
    co_await send_content(request, answer, keep_alive);
  }
}

asio::awaitable<void> Session::send_text(const Request& request, const Answer& answer, bool keep_alive) {
  const std::string head = header_text(answer, request, keep_alive, std::time(nullptr));
  const std::string_view body = request.method == Method::kHead ? std::string_view() : answer.body;
  std::array buffers{asio::const_buffer(head.data(), head.size()),
                     asio::const_buffer(body.data(), body.size())};
  co_await stream_.write(buffers);
  traffic_.bytes_sent += body.size();
}

asio::awaitable<void> Session::send_content(const Request& request, const Answer& answer, bool keep_alive) {
  ContentSender sender(server_, answer.resource->content, answer.range, std::move(memory_));
  std::string fault;
  bool promised = false;
  try {
    co_await sender.prepare();
    promised = true;
    const std::string head = header_text(answer, request, keep_alive, std::time(nullptr));
    co_await sender.send(stream_, head, traffic_.bytes_sent);
  } catch (const ContentFailure& failure) {
    fault = failure.what();
  }
  memory_ = sender.take_memory();
  if (fault.empty()) co_return;
  ++traffic_.failures;
  server_.log.error("{}: cannot send {} bytes of {} at {}: {}", client_.peer, answer.range.length,
                    printable(request.path), answer.range.offset, fault);
  // What has been promised cannot be taken back: only a connection that breaks tells the client.
  if (promised) throw boost::system::system_error(asio::error::connection_aborted);
  const Answer failed = error_answer(500, "it cannot be read; the server's log says why");
  co_await send_text(request, failed, keep_alive);
}

}  // namespace vmpack::http
