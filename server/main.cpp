// SPDX-License-Identifier: Apache-2.0
// vmserve: serves the images of a repository over the network.
#include <exception>
#include <iostream>

#include "libvmpack/base/error.hpp"
#include "server/daemon/daemon.hpp"
#include "server/options.hpp"

namespace {

enum ExitCode { kDone = 0, kFailed = 1, kWrongUsage = 2 };

}  // namespace

int main(int argc, char** argv) {
  using namespace vmpack;
  const auto [settings, exit_code] = parse_options(argc, argv, std::cout, std::cerr);
  if (!settings) return exit_code;
  try {
    run_daemon(*settings, [&] { return reread_options(argc, argv); });
    return kDone;
  } catch (const Error& error) {
    print_error(std::cerr, error.what(), error.hint());
    return error.code() == ErrorCode::kInvalid ? kWrongUsage : kFailed;
  } catch (const std::exception& error) {
    print_error(std::cerr, error.what(), {});
    return kFailed;
  }
}
