// SPDX-License-Identifier: Apache-2.0
// vmserve's life: opens what it is told to, gives up its rights, serves, reloads, and stops. docs/serving.md
// tells of it as its users see it.
#pragma once

#include <functional>

#include "server/settings.hpp"

namespace vmpack {

/// Returns when a signal has stopped the server. `reread` gives the settings as they are now: for SIGHUP.
/// Throws what opening throws. For the main thread, before there are others.
void run_daemon(const Settings& settings, const std::function<Settings()>& reread);

}  // namespace vmpack
