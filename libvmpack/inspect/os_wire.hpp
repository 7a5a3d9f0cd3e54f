// SPDX-License-Identifier: Apache-2.0
// Words that OsInspection and its helper program say to each other.
#pragma once

#include <string_view>

namespace vmpack::os_wire {

// Accelerators.
inline constexpr std::string_view kKvm = "kvm";
inline constexpr std::string_view kTcg = "tcg";

// Kinds of image.
inline constexpr std::string_view kRaw = "raw";               ///< a path
inline constexpr std::string_view kNbdSocket = "nbd-socket";  ///< a unix socket's path
inline constexpr std::string_view kNbdHost = "nbd-host";      ///< host:port/export

/// First thing on the helper's standard output, once the appliance runs. JSON follows.
inline constexpr std::string_view kLaunched = "launched\n";

}  // namespace vmpack::os_wire
