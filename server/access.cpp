// SPDX-License-Identifier: Apache-2.0
#include "server/access.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "libvmpack/base/error.hpp"

namespace vmpack {
namespace {

constexpr std::string_view kEverything = "*";
constexpr std::string_view kDefaultTag = "latest";
constexpr unsigned kIpv6Bits = 128;
constexpr unsigned kMappedBits = 96;  // of ::ffff:0:0, before an IPv4 address

/// `text` comes from a client, `pattern` from whoever runs the server.
bool fits(const std::string& pattern, std::string_view text) {
  if (text.find('\0') != std::string_view::npos) return false;
  return ::fnmatch(pattern.c_str(), std::string(text).c_str(), FNM_NOESCAPE) == 0;
}

Error bad_pattern(std::string_view text, std::string_view why, std::string_view hint) {
  return {ErrorCode::kInvalid, fmt::format("bad access rule \"{}\": {}", text, why), std::string(hint)};
}

/// What stands behind `prefix`, nullopt when `text` begins otherwise.
std::optional<std::string_view> behind(std::string_view text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return std::nullopt;
  return text.substr(prefix.size());
}

/// nullopt unless `text` is a number, and nothing else.
std::optional<unsigned> parse_number(std::string_view text) {
  unsigned number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

bool shares_prefix(const IpAddress& a, const IpAddress& b, unsigned bits) {
  const std::size_t whole = bits / 8;
  if (!std::equal(a.bytes.begin(), a.bytes.begin() + static_cast<std::ptrdiff_t>(whole), b.bytes.begin()))
    return false;
  const unsigned rest = bits % 8;
  return rest == 0 || (a.bytes.at(whole) ^ b.bytes.at(whole)) >> (8 - rest) == 0;
}

}  // namespace

std::optional<IpAddress> parse_ip_address(std::string_view text) {
  const std::string number(text.substr(0, text.find('%')));
  IpAddress address;
  if (::inet_pton(AF_INET6, number.c_str(), address.bytes.data()) == 1) return address;
  address.bytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (::inet_pton(AF_INET, number.c_str(), address.bytes.data() + kMappedBits / 8) == 1) return address;
  return std::nullopt;
}

AccessRules::AccessRules(const std::vector<AccessRule>& rules) {
  for (const AccessRule& rule : rules) {
    Rule& parsed = rules_.emplace_back();
    for (const auto& text : rule.exports) parsed.exports.push_back(parse_export(text));
    for (const auto& text : rule.clients) parsed.clients.push_back(parse_client(text));
  }
}

AccessRules::ExportPattern AccessRules::parse_export(std::string_view text) {
  if (text == kEverything) return {std::string(kEverything), std::string(kEverything)};
  const auto colon = text.find(':');
  if (colon == 0 || colon == std::string_view::npos || colon + 1 == text.size()) {
    throw bad_pattern(text, "it names no exports",
                      R"(write "NAME:TAG", "NAME:*" for every tag and digest of a name, or "*")");
  }
  return {std::string(text.substr(0, colon)), std::string(text.substr(colon + 1))};
}

AccessRules::ClientPattern AccessRules::parse_client(std::string_view text) {
  if (text == kEverything) return Everyone{};
  if (text == "unix") return Local{};
  if (const auto network = behind(text, "address:")) return parse_network(*network);
  constexpr std::array<std::pair<std::string_view, std::string Client::*>, 3> kKinds{
      {{"cert:", &Client::certificate}, {"psk:", &Client::psk}, {"token:", &Client::token}}};
  for (const auto& [prefix, kind] : kKinds) {
    const auto pattern = behind(text, prefix);
    if (pattern && !pattern->empty()) return Named{kind, std::string(*pattern)};
  }
  throw bad_pattern(text, "it names no clients",
                    R"(write "cert:NAME", "psk:NAME", "token:NAME", "address:NETWORK", "unix", or "*")");
}

AccessRules::Network AccessRules::parse_network(std::string_view text) {
  const auto slash = text.find('/');
  const auto ip_text = text.substr(0, slash);
  const unsigned bits_before = ip_text.find(':') == std::string_view::npos ? kMappedBits : 0;
  const unsigned bits_max = kIpv6Bits - bits_before;
  const auto address = parse_ip_address(ip_text);
  const auto bits =
      slash == std::string_view::npos ? std::optional(bits_max) : parse_number(text.substr(slash + 1));
  if (!address || !bits || *bits > bits_max) {
    throw bad_pattern(text, "it is no network", R"(write "address:10.0.0.0/8" or "address:fd00::/8")");
  }
  return {*address, bits_before + *bits};
}

bool AccessRules::names_certificates() const {
  const auto names_one = [](const ClientPattern& pattern) {
    const auto* named = std::get_if<Named>(&pattern);
    return named != nullptr && named->kind == &Client::certificate;
  };
  return std::ranges::any_of(rules_,
                             [&](const Rule& rule) { return std::ranges::any_of(rule.clients, names_one); });
}

bool AccessRules::is_one_of(const Client& client, const ClientPattern& pattern) {
  if (const auto* named = std::get_if<Named>(&pattern)) {
    const std::string& name = client.*named->kind;
    return !name.empty() && fits(named->pattern, name);
  }
  if (const auto* network = std::get_if<Network>(&pattern))
    return !client.local && shares_prefix(client.address, network->address, network->prefix_bits);
  return client.local || std::holds_alternative<Everyone>(pattern);
}

bool AccessRules::is_for(const Rule& rule, const Client& client) {
  return std::ranges::any_of(rule.clients, [&](const auto& pattern) { return is_one_of(client, pattern); });
}

bool AccessRules::may_open(const Client& client, std::string_view name) const {
  if (rules_.empty()) return true;
  const auto separator = name.find_first_of(":@");
  const auto base = name.substr(0, separator);
  const bool tagged = separator != std::string_view::npos;
  const bool by_digest = tagged && name[separator] == '@';
  const auto tag = tagged ? name.substr(separator + 1) : kDefaultTag;
  const auto covers = [&](const ExportPattern& pattern) {
    return fits(pattern.name, base) && (by_digest ? pattern.tag == kEverything : fits(pattern.tag, tag));
  };
  return std::ranges::any_of(rules_, [&](const Rule& rule) {
    return is_for(rule, client) && std::ranges::any_of(rule.exports, covers);
  });
}

bool AccessRules::may_open_everything(const Client& client) const {
  if (rules_.empty()) return true;
  const auto covers_all = [](const ExportPattern& pattern) {
    return pattern.name == kEverything && pattern.tag == kEverything;
  };
  return std::ranges::any_of(rules_, [&](const Rule& rule) {
    return is_for(rule, client) && std::ranges::any_of(rule.exports, covers_all);
  });
}

}  // namespace vmpack
