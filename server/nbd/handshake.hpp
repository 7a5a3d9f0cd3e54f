// SPDX-License-Identifier: Apache-2.0
// The handshake's decisions: what to answer to each option, and what was agreed on in the end. Reads and
// writes no socket.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libvmpack/base/bytes.hpp"
#include "server/export.hpp"
#include "server/nbd/protocol.hpp"
#include "server/policy.hpp"

namespace spdlog {
class logger;
}

namespace vmpack::nbd {

/// What both sides know when transmission begins.
struct Agreement {
  Export exported;
  bool structured = false;    ///< replies in chunks
  bool block_status = false;  ///< base:allocation was selected for this very export
};

/// One client's handshake. Used by one thread at a time.
class Handshake {
 public:
  /// What the policy does not let the client open is answered as if it were not there.
  Handshake(ExportCatalog& catalog, const Policy& policy, spdlog::logger& log, Client client);

  /// False when the client set a flag that nobody offered: the connection must be closed.
  [[nodiscard]] bool accept_client_flags(std::uint32_t flags);

  enum class Next { kOption, kTls, kTransmission, kClose };
  struct Answer {
    Bytes reply;  ///< to be sent first, may be empty
    Next next = Next::kOption;
  };
  /// Answers one option, of any number and with any data. May block on the store.
  [[nodiscard]] Answer answer(Option option, ByteView data);
  /// The same for one whose data was longer than kOptionBytesMax, and was skipped.
  [[nodiscard]] Answer answer_oversized(Option option) const;
  /// The same for one that came when the server was about to stop.
  [[nodiscard]] Answer answer_stopping(Option option) const;

  /// After Next::kTls, when TLS has begun: forgets whatever was said in plain, but for the client flags.
  void begin_tls(Client client);

  /// Valid after Next::kTransmission.
  [[nodiscard]] const Agreement& agreement() const { return agreement_; }

 private:
  Answer answer_known(Option option, ByteView data);
  Answer start_tls(ByteView data) const;
  Answer export_name(ByteView data);
  Answer list(ByteView data);
  Answer info_or_go(Option option, ByteView data);
  Answer structured_reply(ByteView data);
  Answer meta_context(Option option, ByteView data);

  /// Opens `name` into last_, unless it is there already. Returns what to tell the client, empty when it is
  /// open. A client that asks twice within a handshake gets the same snapshot, whatever happens to the
  /// reference meanwhile.
  std::string open(std::string_view name);
  /// Throws kNotFound unless the client may open the export of that name.
  void check_access(std::string_view name) const;
  void agree();
  [[nodiscard]] std::uint16_t transmission_flags() const;
  [[nodiscard]] bool needs_tls() const { return policy_.nbd_tls == TlsMode::kRequired && !has_tls_; }

  ExportCatalog& catalog_;
  const Policy& policy_;
  spdlog::logger& log_;
  Client client_;
  bool has_tls_ = false;
  bool fixed_newstyle_ = false;
  bool zeroes_ = true;
  bool structured_ = false;

  std::string last_name_;    ///< as the client wrote it
  Export last_;              ///< without an image: nothing is open
  std::string status_name_;  ///< export for which base:allocation is selected
  bool status_selected_ = false;
  Agreement agreement_;
};

}  // namespace vmpack::nbd
