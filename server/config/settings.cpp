// SPDX-License-Identifier: Apache-2.0
#include "server/config/settings.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"

namespace vmpack::config {
namespace {

constexpr const char* kRepositoryVariable = "VMPACK_REPO";

void apply_all(std::span<const Setting> table, const GivenByName& given, Settings& settings) {
  for (const auto& [name, value] : given) {
    const Setting* setting = find_setting(table, name);
    VMPACK_ASSERT(setting != nullptr);
    try {
      apply(*setting, value.texts, settings);
    } catch (const Error& error) {
      throw Error(ErrorCode::kInvalid, fmt::format("{}: {}", value.where, error.what()), error.hint());
    }
  }
}

void require(bool holds, const char* message, const char* hint) {
  if (!holds) throw Error(ErrorCode::kInvalid, message, hint);
}

/// What no setting can tell alone.
void check_together(const Settings& settings) {
  const TlsSettings& tls = settings.tls;
  const bool has_certificates = !tls.certificates.empty();
  require(!settings.repository.empty(), "no repository is named", "give --repo REPO, or set VMPACK_REPO");
  require(tls.nbd == TlsMode::kOff || has_certificates || !tls.psk_file.empty(),
          "TLS needs certificates or keys", "give --tls-certificates DIR or --tls-psk FILE");
  require(!tls.http || has_certificates, "HTTPS needs certificates", "give --tls-certificates DIR");
  require(!tls.verify_clients || has_certificates, "clients cannot be verified without certificates",
          "give --tls-certificates DIR with a ca-cert.pem");
  // Otherwise somebody would believe that what they serve is encrypted.
  require(tls.nbd != TlsMode::kOff || tls.http || (!has_certificates && tls.psk_file.empty()),
          "there are certificates or keys for TLS, but nothing uses it", "give --tls or --https");
  require(settings.cache.disk_bytes == 0 || !settings.cache.disk_folder.empty(),
          "a size of the cache on disk needs its folder", "give --disk-cache DIR");
  require(settings.cache.disk_bytes != 0 || settings.cache.disk_folder.empty(),
          "the cache on disk needs a size", "give --disk-cache-size SIZE");
  const ServerLimits& limits = settings.limits;
  require(limits.bytes_in_flight >= limits.connection_bytes_in_flight,
          "one connection may take more bytes than all together",
          "set [limits] bytes at least as large as connection-bytes");
}

/// A string of TOML (basic string).
std::string quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += fmt::format("\\{}", c);
    } else if (code < 0x20 || code == 0x7f) {
      result += fmt::format("\\u{:04X}", code);
    } else {
      result += c;
    }
  }
  return result + '"';
}

std::string quoted_list(const std::vector<std::string>& texts) {
  std::vector<std::string> all;
  for (const auto& text : texts) all.push_back(quoted(text));
  return fmt::format("[{}]", fmt::join(all, ", "));
}

/// One line; nothing for what is not set.
std::string line_of(const Setting& setting, const Settings& settings) {
  const Texts texts = texts_of(setting, settings);
  if (texts.empty() || texts == Texts{""}) return {};
  const bool bare = std::holds_alternative<SwitchField>(setting.field) ||
                    std::holds_alternative<NumberField>(setting.field);
  const bool list = std::holds_alternative<AddressesField>(setting.field);
  const auto value = list ? quoted_list(texts) : bare ? texts.front() : quoted(texts.front());
  return fmt::format("{} = {}\n", setting.name, value);
}

}  // namespace

Settings default_settings() {
  Settings settings;
  if (const char* repository = std::getenv(kRepositoryVariable)) settings.repository = repository;
  settings.cache.memory_bytes = 512 * kMiB;
  settings.threads = std::clamp<std::uint64_t>(std::thread::hardware_concurrency(), 1, kThreadsMax);
  settings.log_level = "info";
  return settings;
}

Settings make_settings(const ConfigFile& file, const GivenByName& flags) {
  GivenByName given = flags;
  given.insert(file.settings.begin(), file.settings.end());  // what is there already stays
  Settings settings = default_settings();
  apply_all(settings_table(), given, settings);
  apply_all(limits_table(), file.limits, settings);
  settings.access = file.access;
  settings.tokens = file.tokens;
  check_together(settings);
  return settings;
}

std::string describe(const Settings& settings) {
  std::string text;
  for (const Setting& setting : settings_table()) text += line_of(setting, settings);
  text += "\n[limits]\n";
  for (const Setting& setting : limits_table()) text += line_of(setting, settings);
  for (const AccessRule& rule : settings.access) {
    text += fmt::format("\n[[access]]\nexports = {}\nclients = {}\n", quoted_list(rule.exports),
                        quoted_list(rule.clients));
  }
  for (const TokenSettings& token : settings.tokens) {
    text += fmt::format("\n[[token]]\nname = {}\nfile = {}\n", quoted(token.name), quoted(token.file));
  }
  return text;
}

}  // namespace vmpack::config
