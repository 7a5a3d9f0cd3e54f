// SPDX-License-Identifier: Apache-2.0
// Owners for what libguestfs's C interface hands out.
#pragma once

#include <guestfs.h>

#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace vmpack {

struct CloseHandle {
  void operator()(guestfs_h* handle) const { guestfs_close(handle); }
};
using Handle = std::unique_ptr<guestfs_h, CloseHandle>;

/// A list of strings that libguestfs gave us; empty also where the call failed.
class Strings {
 public:
  explicit Strings(char** list) : list_(list) {
    for (char** at = list_; at != nullptr && *at != nullptr; ++at) ++count_;
  }
  ~Strings() {
    for (char* text : texts()) std::free(text);
    std::free(static_cast<void*>(list_));
  }
  Strings(const Strings&) = delete;
  Strings& operator=(const Strings&) = delete;

  [[nodiscard]] std::span<char* const> texts() const { return {list_, count_}; }

 private:
  char** list_;
  std::size_t count_ = 0;
};

using OwnedText = std::unique_ptr<char, decltype(&std::free)>;

/// Takes a string that libguestfs gave us. "unknown" is its word for nothing.
inline std::string take(char* text) {
  const OwnedText owned(text, &std::free);
  if (text == nullptr || std::string_view(text) == "unknown") return {};
  return text;
}

/// Throws Error (kIo) with what libguestfs last complained of.
[[noreturn]] void fail(guestfs_h* handle, std::string_view doing);

}  // namespace vmpack
