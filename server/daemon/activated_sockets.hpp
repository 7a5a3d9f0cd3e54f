// SPDX-License-Identifier: Apache-2.0
// Listening sockets that the service manager opened (sd_listen_fds(3), by FileDescriptorName=).
#pragma once

#include <vector>

#include "server/listener.hpp"

namespace vmpack {

struct ActivatedSockets {
  std::vector<Listener> nbd;
  std::vector<Listener> http;
};

/// Takes those named "nbd" and "http"; one without a name is NBD's. Takes the variables out of the
/// environment. Throws kInvalid for a name of another kind, and for what does not listen.
[[nodiscard]] ActivatedSockets take_activated_sockets();

}  // namespace vmpack
