// SPDX-License-Identifier: Apache-2.0
#include "server/config/setting.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/parse_duration.hpp"
#include "libvmpack/base/parse_size.hpp"

namespace vmpack::config {
namespace {

std::uint64_t parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Error(ErrorCode::kInvalid, fmt::format("\"{}\" is no number", printable(text)));
  }
  return value;
}

/// "512M" where it can be written so without loss.
std::string size_text(std::uint64_t bytes) {
  constexpr std::string_view kUnits = "KMGT";
  std::size_t unit = 0;
  while (unit < kUnits.size() && bytes != 0 && bytes % kKiB == 0) {
    bytes /= kKiB;
    ++unit;
  }
  return unit == 0 ? std::to_string(bytes) : fmt::format("{}{}", bytes, kUnits[unit - 1]);
}

struct Applier {
  const Texts& texts;
  Settings& settings;

  [[nodiscard]] const std::string& text() const {
    if (texts.size() != 1) throw Error(ErrorCode::kInvalid, "it takes one value");
    return texts.front();
  }

  void operator()(const TextField& field) const { field.of(settings) = text(); }
  void operator()(const PathField& field) const {
    if (text().empty()) throw Error(ErrorCode::kInvalid, "the path is empty");
    field.of(settings) = text();
  }
  void operator()(const AddressesField& field) const {
    auto& addresses = field.of(settings);
    addresses.clear();
    for (const auto& text : texts) addresses.push_back(parse_listen_address(text, field.default_port));
  }
  void operator()(const SwitchField& field) const {
    if (text() != "true" && text() != "false") throw Error(ErrorCode::kInvalid, "it is true or false");
    field.of(settings) = text() == "true";
  }
  void operator()(const NumberField& field) const {
    const auto value = parse_number(text());
    if (value < field.min || value > field.max) {
      throw Error(ErrorCode::kInvalid, fmt::format("it must be from {} to {}", field.min, field.max));
    }
    field.of(settings) = value;
  }
  void operator()(const SizeField& field) const {
    const auto bytes = parse_size(text());
    if (bytes < field.min) {
      throw Error(ErrorCode::kInvalid, fmt::format("it must be at least {}", size_text(field.min)));
    }
    field.of(settings) = bytes;
  }
  void operator()(const SecondsField& field) const {
    const std::chrono::seconds value(parse_duration(text()));
    if (value < field.min || value > field.max) {
      throw Error(ErrorCode::kInvalid,
                  fmt::format("it must be from {} to {} seconds", field.min.count(), field.max.count()));
    }
    field.of(settings) = value;
  }
  void operator()(const ChoiceField& field) const {
    const auto found = std::ranges::find(field.words, text());
    if (found == field.words.end()) {
      throw Error(ErrorCode::kInvalid,
                  fmt::format("\"{}\" is none of {}", printable(text()), fmt::join(field.words, ", ")));
    }
    field.set(settings, static_cast<std::size_t>(found - field.words.begin()));
  }
};

struct Shower {
  Settings& settings;

  Texts operator()(const TextField& field) const { return {field.of(settings)}; }
  Texts operator()(const PathField& field) const { return {field.of(settings)}; }
  Texts operator()(const AddressesField& field) const {
    Texts texts;
    for (const auto& address : field.of(settings)) texts.push_back(listen_address_text(address));
    return texts;
  }
  Texts operator()(const SwitchField& field) const { return {field.of(settings) ? "true" : "false"}; }
  Texts operator()(const NumberField& field) const { return {std::to_string(field.of(settings))}; }
  Texts operator()(const SizeField& field) const {
    return field.of(settings) == 0 ? Texts{} : Texts{size_text(field.of(settings))};  // 0: not set
  }
  Texts operator()(const SecondsField& field) const {
    return {fmt::format("{}s", field.of(settings).count())};
  }
  Texts operator()(const ChoiceField& field) const { return {std::string(field.words[field.get(settings)])}; }
};

}  // namespace

const Setting* find_setting(std::span<const Setting> table, std::string_view name) {
  const auto found = std::ranges::find(table, name, &Setting::name);
  return found == table.end() ? nullptr : &*found;
}

void apply(const Setting& setting, const Texts& texts, Settings& settings) {
  std::visit(Applier{texts, settings}, setting.field);
}

Texts texts_of(const Setting& setting, const Settings& settings) {
  Settings copy = settings;  // the table leads to members that can be changed
  return std::visit(Shower{copy}, setting.field);
}

}  // namespace vmpack::config
