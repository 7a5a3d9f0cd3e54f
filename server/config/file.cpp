// SPDX-License-Identifier: Apache-2.0
#include "server/config/file.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <filesystem>
#include <initializer_list>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "server/small_file.hpp"

namespace vmpack::config {
namespace {

constexpr std::string_view kLimitsKey = "limits";
constexpr std::string_view kAccessKey = "access";
constexpr std::string_view kTokenKey = "token";
constexpr std::string_view kUnixPrefix = "unix:";

/// Reads one file; knows its name and folder.
class Reader {
 public:
  explicit Reader(std::string path) : path_(std::move(path)) {
    folder_ = std::filesystem::absolute(path_).parent_path();
  }

  ConfigFile read(const toml::table& root) const {
    ConfigFile file;
    for (const auto& [key, value] : root) {
      if (key == kLimitsKey) {
        file.limits = read_limits(value);
      } else if (key == kAccessKey) {
        for (const toml::table* rule : tables(key, value)) file.access.push_back(read_rule(*rule));
      } else if (key == kTokenKey) {
        for (const toml::table* token : tables(key, value)) file.tokens.push_back(read_token(*token));
      } else {
        const Setting& setting = known(settings_table(), key, {kLimitsKey, kAccessKey, kTokenKey});
        file.settings.emplace(key.str(), read_setting(setting, key, value));
      }
    }
    return file;
  }

  [[nodiscard]] Error error_at(toml::source_position at, std::string_view what, std::string hint = {}) const {
    return {ErrorCode::kInvalid, fmt::format("{}:{}: {}", printable(path_), at.line, what), std::move(hint)};
  }

 private:
  [[nodiscard]] Error wrong(const toml::key& key, std::string_view what) const {
    return error_at(key.source().begin, fmt::format("{} {}", printable(key.str()), what));
  }
  [[nodiscard]] Error unknown(const toml::key& key, const std::vector<std::string_view>& words) const {
    const auto nearest = nearest_word(key.str(), words);
    return error_at(key.source().begin, fmt::format("unknown key {}", printable(key.str())),
                    nearest.empty() ? fmt::format("known are {}", fmt::join(words, ", "))
                                    : fmt::format("did you mean {}?", nearest));
  }
  [[nodiscard]] const Setting& known(std::span<const Setting> table, const toml::key& key,
                                     std::initializer_list<std::string_view> others) const {
    if (const Setting* setting = find_setting(table, key.str())) return *setting;
    std::vector<std::string_view> words(others);
    for (const Setting& setting : table) words.push_back(setting.name);
    throw unknown(key, words);
  }

  [[nodiscard]] GivenByName read_limits(const toml::node& node) const {
    const toml::table* limits = node.as_table();
    if (limits == nullptr) throw error_at(node.source().begin, "limits is no table", "write [limits]");
    GivenByName given;
    for (const auto& [key, value] : *limits) {
      given.emplace(key.str(), read_setting(known(limits_table(), key, {}), key, value));
    }
    return given;
  }

  [[nodiscard]] Given read_setting(const Setting& setting, const toml::key& key,
                                   const toml::node& value) const {
    Given given;
    given.where = fmt::format("{}:{}: {}", printable(path_), key.source().begin.line, setting.name);
    if (std::holds_alternative<AddressesField>(setting.field)) {
      for (auto& text : strings(key, value)) given.texts.push_back(resolved_address(text));
    } else if (std::holds_alternative<PathField>(setting.field)) {
      given.texts.push_back(resolved(string(key, value)));
    } else if (std::holds_alternative<SwitchField>(setting.field)) {
      if (!value.is_boolean()) throw wrong(key, "must be true or false");
      given.texts.emplace_back(value.as_boolean()->get() ? "true" : "false");
    } else if (std::holds_alternative<TextField>(setting.field) ||
               std::holds_alternative<ChoiceField>(setting.field)) {
      given.texts.push_back(string(key, value));
    } else {
      given.texts.push_back(quantity(setting, key, value));
    }
    return given;
  }

  [[nodiscard]] std::string string(const toml::key& key, const toml::node& value) const {
    if (!value.is_string()) throw wrong(key, "must be a string");
    return value.as_string()->get();
  }

  /// A list of strings, or one alone.
  [[nodiscard]] std::vector<std::string> strings(const toml::key& key, const toml::node& value) const {
    if (value.is_string()) return {value.as_string()->get()};
    std::vector<std::string> texts;
    const toml::array* array = value.as_array();
    if (array == nullptr) throw wrong(key, "must be a list of strings");
    for (const toml::node& element : *array) {
      if (!element.is_string()) throw wrong(key, "must be a list of strings");
      texts.push_back(element.as_string()->get());
    }
    return texts;
  }

  /// A number; sizes and times may also be strings with a unit.
  [[nodiscard]] std::string quantity(const Setting& setting, const toml::key& key,
                                     const toml::node& value) const {
    if (value.is_integer()) return std::to_string(value.as_integer()->get());
    if (std::holds_alternative<NumberField>(setting.field)) throw wrong(key, "must be a whole number");
    if (!value.is_string())
      throw wrong(key, "must be a number, or a string with a unit as in \"2G\" or \"30s\"");
    return value.as_string()->get();
  }

  [[nodiscard]] std::vector<const toml::table*> tables(const toml::key& key, const toml::node& value) const {
    std::vector<const toml::table*> found;
    const toml::array* array = value.as_array();
    if (array == nullptr) throw wrong(key, fmt::format("must be written as [[{}]]", key.str()));
    for (const toml::node& element : *array) {
      if (!element.is_table()) throw wrong(key, fmt::format("must be written as [[{}]]", key.str()));
      found.push_back(element.as_table());
    }
    return found;
  }

  [[nodiscard]] AccessRule read_rule(const toml::table& table) const {
    AccessRule rule;
    for (const auto& [key, value] : table) {
      if (key == "exports") {
        rule.exports = strings(key, value);
      } else if (key == "clients") {
        rule.clients = strings(key, value);
      } else {
        throw unknown(key, {"exports", "clients"});
      }
    }
    if (rule.exports.empty() || rule.clients.empty()) {
      throw error_at(table.source().begin, "a rule of access needs exports and clients",
                     "write exports = [\"web:*\"] and clients = [\"address:10.0.0.0/8\"]");
    }
    return rule;
  }

  [[nodiscard]] TokenSettings read_token(const toml::table& table) const {
    TokenSettings token;
    for (const auto& [key, value] : table) {
      if (key == "name") {
        token.name = string(key, value);
      } else if (key == "file") {
        token.file = resolved(string(key, value));
      } else {
        throw unknown(key, {"name", "file"});
      }
    }
    if (token.name.empty() || token.file.empty()) {
      throw error_at(table.source().begin, "a token needs a name and the file that holds it");
    }
    return token;
  }

  /// What a relative path in the file means.
  [[nodiscard]] std::string resolved(const std::string& path) const {
    if (path.empty() || path.find("://") != std::string::npos) return path;
    return (folder_ / path).lexically_normal().string();
  }
  [[nodiscard]] std::string resolved_address(const std::string& text) const {
    if (!text.starts_with(kUnixPrefix)) return text;
    return fmt::format("{}{}", kUnixPrefix, resolved(text.substr(kUnixPrefix.size())));
  }

  std::string path_;
  std::filesystem::path folder_;
};

}  // namespace

ConfigFile read_config_file(const std::string& path) {
  const Reader reader(path);
  const std::string text = read_small_file(path);
  toml::table root;
  try {
    root = toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw reader.error_at(error.source().begin, printable(error.description()));
  }
  return reader.read(root);
}

}  // namespace vmpack::config
