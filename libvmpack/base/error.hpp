// SPDX-License-Identifier: Apache-2.0
// The one exception of the project: a code for programs, a sentence for people, and what to do about it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace vmpack {

enum class ErrorCode : std::uint8_t {
  kInvalid,        ///< the caller asked for something that makes no sense (bad reference, bad option)
  kNotFound,       ///< what was named is not there
  kAlreadyExists,  ///< what was to be created is there
  kDamaged,        ///< stored bytes are not what they must be
  kUnsupported,    ///< a version, feature or format this build does not know
  kRefused,        ///< not allowed: a backing file outside the allowed folder, a sandbox violation
  kLimit,          ///< larger than a named limit
  kIo,             ///< the operating system, a store or a peer failed
  kNoSpace,        ///< the disk or quota is full
  kCancelled,      ///< stopped on request
};

/// Thrown by every layer, caught by commands and by connections. `what()` is one line without a final
/// period that names the thing it is about; `hint()` says what to do, or is empty.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message, std::string hint = {})
      : std::runtime_error(message), code_(code), hint_(std::move(hint)) {}

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }
  [[nodiscard]] const std::string& hint() const noexcept { return hint_; }

 private:
  ErrorCode code_;
  std::string hint_;
};

/// Error for a failed system call: "<doing> <path>: <strerror>", with kNoSpace, kNotFound, kAlreadyExists or
/// kIo.
[[nodiscard]] Error system_error(int error_number, std::string_view doing, std::string_view path);

/// Aborts with a message: an invariant of this program does not hold. Never for input.
[[noreturn]] void invariant_failed(const char* expression, const char* file, int line) noexcept;

#define VMPACK_ASSERT(expression) \
  ((expression) ? static_cast<void>(0) : ::vmpack::invariant_failed(#expression, __FILE__, __LINE__))

}  // namespace vmpack
