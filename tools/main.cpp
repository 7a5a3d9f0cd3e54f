// SPDX-License-Identifier: Apache-2.0
// vmpack: wires the commands to this process's terminal.
#include <malloc.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>

#include "tools/cli.hpp"

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  // Frames come and go by the thousand, and memory fresh from the kernel costs a page fault every 4 KiB: keep
  // it.
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  const char* term = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe): no other thread yet
  const bool dumb = term != nullptr && std::string_view(term) == "dumb";
  const vmpack::cli::Context context{std::cout, std::cerr, isatty(STDERR_FILENO) == 1 && !dumb};
  const int code = vmpack::cli::run({argv + 1, argv + argc}, context);
  std::cout.flush();
  if (!std::cout && code == vmpack::cli::kDone) return vmpack::cli::kFailed;
  return code;
}
