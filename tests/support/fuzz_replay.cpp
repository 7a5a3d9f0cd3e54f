// SPDX-License-Identifier: Apache-2.0
// Runs a fuzz target without libFuzzer: what once crashed, the seeds, and random mutations that are the same
// in every run. An input that ends the program is kept as a file, to be added to tests/bad.
#include <fcntl.h>
#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <span>
#include <string>

#include "tests/support/files.hpp"
#include "tests/support/fuzz.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kMutations = 5000;  // $VMPACK_FUZZ_RUNS overrides
constexpr unsigned kSecondsForOne = 20;

Bytes current_input;
std::string crash_path;

// Only async-signal-safe calls.
void keep_input(int signal_number) {
  const int file = ::open(crash_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  ssize_t put = ::write(file, current_input.data(), current_input.size());
  const auto say = [&put](std::string_view text) { put = ::write(STDERR_FILENO, text.data(), text.size()); };
  say(signal_number == SIGALRM ? "\nfuzz: an input took too long; kept as "
                               : "\nfuzz: an input crashed; kept as ");
  say(crash_path);
  say("\n");
  ::signal(SIGABRT, SIG_DFL);
  std::abort();
}

void run_one(Bytes input, const std::string& name) {
  current_input = std::move(input);
  ::alarm(kSecondsForOne);
  try {
    // Its own allocation of the exact size, so that a sanitizer sees a read behind the end.
    const Bytes exact(current_input);
    LLVMFuzzerTestOneInput(as_u8(exact), exact.size());
  } catch (const std::exception& error) {
    fmt::print(stderr, "fuzz: {} let an exception out: {}\n", name, error.what());
    std::abort();
  }
  ::alarm(0);
}

std::vector<Bytes> known_inputs(const std::string& bad_folder) {
  std::vector<Bytes> inputs = fuzz_seeds();
  inputs.emplace_back();
  if (std::filesystem::is_directory(bad_folder)) {
    for (const std::string& name : files_below(bad_folder))
      inputs.push_back(read_file(bad_folder + "/" + name));
  }
  return inputs;
}

// One mutation of `input`, the same for the same seed: bytes flipped, overwritten, cut out, inserted or
// truncated.
Bytes mutate(const Bytes& input, std::uint64_t seed) {
  Random random(seed);
  Bytes bytes = input;
  for (std::uint64_t round = 0, rounds = 1 + random.below(4); round < rounds; ++round) {
    const std::size_t at = bytes.empty() ? 0 : random.below(bytes.size());
    const auto here = bytes.begin() + static_cast<std::ptrdiff_t>(at);
    const std::size_t span = std::min<std::size_t>(1 + random.below(16), bytes.size() - at);
    switch (random.below(6)) {
      case 0:
        if (!bytes.empty()) *here ^= static_cast<std::byte>(1U << random.below(8));
        break;
      case 1: {
        // Numbers that lengths and offsets go wrong at.
        static constexpr std::array<std::uint64_t, 8> kWild = {
            0, 1, 0x7f, 0x7fffffff, 0x80000000, 0xffffffff, 0x7fffffffffffffff, 0xffffffffffffffff};
        const std::uint64_t value = kWild[random.below(kWild.size())];
        const auto wild =
            std::as_bytes(std::span(&value, 1)).first(std::min(sizeof(value), bytes.size() - at));
        std::ranges::copy(wild, here);
        break;
      }
      case 2:
        for (std::size_t i = 0; i < span; ++i) bytes[at + i] = static_cast<std::byte>(random.next());
        break;
      case 3:
        bytes.erase(here, here + static_cast<std::ptrdiff_t>(span));
        break;
      case 4: {
        const Bytes more = random_bytes(random.next(), 1 + random.below(32));
        bytes.insert(here, more.begin(), more.end());
        break;
      }
      default:
        bytes.resize(at);
        break;
    }
  }
  return bytes;
}

}  // namespace
}  // namespace vmpack::test

int main(int argc, char** argv) {
  using namespace vmpack::test;
  const std::string program = std::filesystem::path(argv[0]).filename().string();
  crash_path = std::filesystem::current_path().string() + "/crash-" + program;
  for (const int signal_number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) {
    ::signal(signal_number, keep_input);
  }
  if (argc == 2 && std::filesystem::is_regular_file(argv[1])) {
    run_one(read_file(argv[1]), argv[1]);
    return 0;
  }
  const auto inputs = known_inputs(argc > 1 ? argv[1] : "");
  for (const auto& input : inputs) run_one(input, "a known input");
  const char* runs = std::getenv("VMPACK_FUZZ_RUNS");
  const std::uint64_t mutations = runs != nullptr ? std::strtoull(runs, nullptr, 10) : kMutations;
  for (std::uint64_t i = 0; i < mutations; ++i) {
    run_one(mutate(inputs[i % inputs.size()], i), fmt::format("mutation {}", i));
  }
  fmt::print("{}: {} known inputs and {} mutations passed\n", program, inputs.size(), mutations);
  return 0;
}
