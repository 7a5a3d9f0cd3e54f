// SPDX-License-Identifier: Apache-2.0
#include "server/daemon/signals.hpp"

#include <pthread.h>

namespace vmpack {

Signals::Signals() {
  sigemptyset(&set_);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set_, signal);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // NOLINT(cert-err33-c): it cannot fail
}

std::optional<int> Signals::wait(std::chrono::nanoseconds time) const {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const timespec left{seconds.count(), (time - seconds).count()};
  const int received = sigtimedwait(&set_, nullptr, &left);
  if (received <= 0) return std::nullopt;
  return received;
}

}  // namespace vmpack
