// SPDX-License-Identifier: Apache-2.0
// vmpack: wires the commands to this process's terminal.
#include <langinfo.h>
#include <locale.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string_view>

#include "tools/cli.hpp"

namespace {

/// Frames come and go by the thousand, and each 4 KiB of memory fresh from the kernel costs a page fault: a
/// sixth of an ingest. So what was freed is kept, and the heap is of large pages as far as an ingest needs
/// it. Takes nothing before it is used; where the system has no large pages, all works without.
void prepare_heap() {
  constexpr int kHeapBytes = 256 << 20;
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 2 * kHeapBytes);
  mallopt(M_TOP_PAD, kHeapBytes);
  void* const first = std::malloc(1 << 20);  // makes the heap grow
  constexpr std::uintptr_t kLargePage = 2 << 20;
  const auto start = (reinterpret_cast<std::uintptr_t>(first) + kLargePage) & ~(kLargePage - 1);
  const auto end = reinterpret_cast<std::uintptr_t>(::sbrk(0));
  if (end > start && end - start <= 2 * std::uintptr_t{kHeapBytes}) {
    ::madvise(reinterpret_cast<void*>(start), end - start, MADV_HUGEPAGE);
  }
  std::free(first);
  mallopt(M_TOP_PAD, 1 << 20);
}

/// Whether the user's locale writes UTF-8.
bool locale_is_utf8() {
  const locale_t locale = ::newlocale(LC_CTYPE_MASK, "", nullptr);
  if (locale == nullptr) return false;
  const bool utf8 = std::string_view(::nl_langinfo_l(CODESET, locale)) == "UTF-8";
  ::freelocale(locale);
  return utf8;
}

}  // namespace

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  prepare_heap();
  const char* term = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe): no other thread yet
  const bool dumb = term != nullptr && std::string_view(term) == "dumb";
  const vmpack::cli::Context context{std::cout, std::cerr, isatty(STDERR_FILENO) == 1 && !dumb,
                                     isatty(STDOUT_FILENO) == 1, locale_is_utf8()};
  const int code = vmpack::cli::run({argv + 1, argv + argc}, context);
  std::cout.flush();
  const bool told = code == vmpack::cli::kDone || code == vmpack::cli::kFound;
  return told && !std::cout ? vmpack::cli::kFailed : code;
}
