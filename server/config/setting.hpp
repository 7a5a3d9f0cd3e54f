// SPDX-License-Identifier: Apache-2.0
// What a name on the command line or in a file stands for: where its value belongs, and what it may be.
// Flags, keys of the file, help and --check-config are all made from one table of these.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "server/settings.hpp"

namespace vmpack::config {

// `of` leads to the member that a setting fills.
struct TextField {
  std::string& (*of)(Settings&);
};
/// A path, or a URL. In a file it is relative to the file's folder.
struct PathField {
  std::string& (*of)(Settings&);
};
/// Several; the paths of unix sockets are paths as above.
struct AddressesField {
  std::vector<ListenAddress>& (*of)(Settings&);
  std::string_view default_port;
};
struct SwitchField {
  bool& (*of)(Settings&);
};
struct NumberField {
  std::uint64_t& (*of)(Settings&);
  std::uint64_t min;
  std::uint64_t max;
};
/// Bytes.
struct SizeField {
  std::uint64_t& (*of)(Settings&);
  std::uint64_t min;
};
struct SecondsField {
  std::chrono::seconds& (*of)(Settings&);
  std::chrono::seconds min;
  std::chrono::seconds max;
};
struct ChoiceField {
  std::span<const std::string_view> words;
  std::size_t (*get)(const Settings&);  ///< index in `words`
  void (*set)(Settings&, std::size_t);
};

/// When a changed value is taken.
enum class Change { kReload, kRestart };

struct Setting {
  std::string_view name;  ///< "tls-psk": the flag --tls-psk, and the key in the file
  std::string_view value_name;
  std::string_view help;
  std::variant<TextField, PathField, AddressesField, SwitchField, NumberField, SizeField, SecondsField,
               ChoiceField>
      field;
  Change change = Change::kReload;
};

/// What can be set by a flag and in the file.
[[nodiscard]] std::span<const Setting> settings_table();
/// What can be set in the file's [limits] alone.
[[nodiscard]] std::span<const Setting> limits_table();
/// nullptr: there is none of that name.
[[nodiscard]] const Setting* find_setting(std::span<const Setting> table, std::string_view name);

/// The values of a setting, as a user wrote them: one, or several addresses. A switch is "true" or "false".
using Texts = std::vector<std::string>;

/// Puts `texts` into `settings`. Throws kInvalid with what is allowed.
void apply(const Setting& setting, const Texts& texts, Settings& settings);
/// As apply() takes it.
[[nodiscard]] Texts texts_of(const Setting& setting, const Settings& settings);

}  // namespace vmpack::config
