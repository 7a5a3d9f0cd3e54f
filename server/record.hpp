// SPDX-License-Identifier: Apache-2.0
// A line of the log with facts for programs behind the sentence for people.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>
#include <type_traits>

#include "libvmpack/base/format_text.hpp"

namespace vmpack {

/// Between a sentence and its fields, and between names and values. A control character: what a client sends
/// is shown by printable(), which leaves none in.
inline constexpr char kFieldSeparator = '\x1f';

/// "closed web:v1 after 3.1 s", and facts that only JSON shows.
class Record {
 public:
  explicit Record(std::string sentence) : text_(std::move(sentence)) {}

  Record& add(std::string_view name, std::string_view value) {
    text_ += fmt::format("{}{}{}\"{}", kFieldSeparator, name, kFieldSeparator, printable(value));
    return *this;
  }
  Record& add(std::string_view name, const char* value) { return add(name, std::string_view(value)); }
  template <typename Number>
    requires std::is_arithmetic_v<Number>
  Record& add(std::string_view name, Number value) {
    text_ += fmt::format("{}{}{}{}", kFieldSeparator, name, kFieldSeparator, value);
    return *this;
  }

  /// What to log.
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace vmpack
