// SPDX-License-Identifier: Apache-2.0
// Who a client is, and which exports it may open.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/settings.hpp"

namespace vmpack {

/// Of either family: an IPv4 address is kept as the IPv6 address that stands for it (::ffff:192.0.2.1).
struct IpAddress {
  std::array<std::uint8_t, 16> bytes{};
  friend bool operator==(const IpAddress&, const IpAddress&) = default;
};

/// nullopt unless it is a number of either family. An IPv6 address may name its zone ("fe80::1%eth0").
[[nodiscard]] std::optional<IpAddress> parse_ip_address(std::string_view text);

/// What is known about who is at the other end. A name is there only when the client proved it.
struct Client {
  std::string peer;    ///< for logs: "192.0.2.1:40312", or "unix (pid 1234)"
  bool local = false;  ///< over a unix socket
  IpAddress address;   ///< of one that is not local
  std::string certificate;
  std::string psk;
  std::string token;
};

/// Rules of which one must fit both the client and the export. Immutable: any thread.
class AccessRules {
 public:
  /// No rules: every client may open everything.
  AccessRules() = default;
  /// Throws kInvalid for a pattern that makes no sense, and says which do.
  explicit AccessRules(const std::vector<AccessRule>& rules);

  [[nodiscard]] bool empty() const { return rules_.empty(); }
  /// Does a rule tell clients apart by their certificates?
  [[nodiscard]] bool names_certificates() const;

  /// `name` as a client writes it or in full: "web", "web:v1", "web@3f9c". A digest may be any snapshot that
  /// the name ever had: only a rule for all tags of that name gives access to it.
  [[nodiscard]] bool may_open(const Client& client, std::string_view name) const;
  /// Is there a rule that lets the client open whatever there is?
  [[nodiscard]] bool may_open_everything(const Client& client) const;

 private:
  struct ExportPattern {
    std::string name;
    std::string tag;
  };
  struct Everyone {};
  struct Local {};
  struct Named {
    std::string Client::* kind;
    std::string pattern;
  };
  struct Network {
    IpAddress address;
    unsigned prefix_bits;
  };
  using ClientPattern = std::variant<Everyone, Local, Named, Network>;
  struct Rule {
    std::vector<ExportPattern> exports;
    std::vector<ClientPattern> clients;
  };

  static ExportPattern parse_export(std::string_view text);
  static ClientPattern parse_client(std::string_view text);
  static Network parse_network(std::string_view text);
  static bool is_one_of(const Client& client, const ClientPattern& pattern);
  static bool is_for(const Rule& rule, const Client& client);

  std::vector<Rule> rules_;
};

}  // namespace vmpack
