// SPDX-License-Identifier: Apache-2.0
#include "server/connection_record.hpp"

#include <fmt/format.h>

#include <chrono>

#include "libvmpack/base/format_text.hpp"

namespace vmpack {

std::string identity_of(const Client& client) {
  if (!client.certificate.empty()) return fmt::format("cert:{}", printable(client.certificate));
  if (!client.psk.empty()) return fmt::format("psk:{}", printable(client.psk));
  if (!client.token.empty()) return fmt::format("token:{}", printable(client.token));
  return {};
}

Record record_of(const ConnectionFacts& facts, const ConnectionEnd& end) {
  const auto protocol = to_string(facts.protocol);
  const Traffic& traffic = facts.traffic;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - facts.since;
  Record record(fmt::format("{}: {} {} after {:.1f} s: {} requests, {} sent, {} failed", facts.client.peer,
                            end.how, end.exported.empty() ? protocol : end.exported, seconds.count(),
                            format_count(traffic.requests), format_bytes(traffic.bytes_sent),
                            format_count(traffic.failures)));
  record.add("event", "connection").add("protocol", protocol).add("peer", facts.client.peer);
  record.add("identity", identity_of(facts.client)).add("tls", end.tls);
  record.add("export", end.exported).add("snapshot", end.snapshot).add("seconds", seconds.count());
  record.add("requests", traffic.requests).add("bytes_sent", traffic.bytes_sent);
  record.add("failures", traffic.failures).add("end", end.how);
  return record;
}

}  // namespace vmpack
