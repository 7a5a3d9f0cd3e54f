// SPDX-License-Identifier: Apache-2.0
#include "server/connection_record.hpp"

#include <fmt/format.h>

#include "libvmpack/base/format_text.hpp"

namespace vmpack {

std::string identity_of(const Client& client) {
  if (!client.certificate.empty()) return fmt::format("cert:{}", printable(client.certificate));
  if (!client.psk.empty()) return fmt::format("psk:{}", printable(client.psk));
  if (!client.token.empty()) return fmt::format("token:{}", printable(client.token));
  return {};
}

Record record_of(const ConnectionRecord& connection) {
  const auto name = connection.exported.empty() ? std::string(connection.protocol) : connection.exported;
  Record record(fmt::format("{}: {} {} after {:.1f} s: {} requests, {} sent, {} failed",
                            connection.client.peer, connection.end, name, connection.seconds,
                            format_count(connection.requests), format_bytes(connection.bytes_sent),
                            format_count(connection.failures)));
  record.add("event", "connection").add("protocol", connection.protocol).add("peer", connection.client.peer);
  record.add("identity", identity_of(connection.client)).add("tls", connection.tls);
  record.add("export", connection.exported).add("snapshot", connection.snapshot);
  record.add("seconds", connection.seconds).add("requests", connection.requests);
  record.add("bytes_sent", connection.bytes_sent).add("failures", connection.failures);
  record.add("end", connection.end);
  return record;
}

}  // namespace vmpack
