// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <string_view>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/source/sandbox.hpp"
#include "tools/doctor/check.hpp"

namespace vmpack::cli::doctor {
namespace {

constexpr std::chrono::seconds kToolPatience{20};
constexpr std::size_t kOutputBytesMax = 64 * kKiB;

struct Program {
  std::string_view name;
  std::string_view package;
  std::string_view what_for;
  Verdict without;
};

constexpr Program kPrograms[] = {
    {"qemu-system-x86_64", "qemu-system-x86", "boots images", Verdict::kWarning},
    {"qemu-img", "qemu-utils", "images that are not raw, and overlays", Verdict::kProblem},
    {"qemu-nbd", "qemu-utils", "images that are not raw", Verdict::kProblem},
    {"nbdinfo", "libnbd-bin", "looks at servers", Verdict::kWarning},
    {"nbdkit", "nbdkit", "compressed images", Verdict::kWarning},
    {"fusermount3", "fuse3", "'vmpack mount' for users who are not root", Verdict::kWarning},
};

/// The first line of what `--version` prints.
std::string version_of(const std::string& path) {
  const auto output = run_sandboxed({path, "--version"}, {}, kOutputBytesMax, kToolPatience);
  return printable(output.out.substr(0, output.out.find('\n')));
}

Check check_program(const Program& program) {
  Check check{.name = std::string(program.name)};
  try {
    check.found = version_of(find_program(program.name, program.package));
  } catch (const Error& error) {
    check.verdict = program.without;
    check.found = fmt::format("{} (needed for: {})", error.what(), program.what_for);
    check.advice = fmt::format("install the package {}", program.package);
  }
  return check;
}

Check check_libguestfs() {
  Check check{.name = "libguestfs"};
  try {
    check.found = find_helper("vmpack-appliance-helper");
    const auto output =
        run_sandboxed({check.found}, {.address_space_bytes = 0}, kOutputBytesMax, kToolPatience);
    // Without arguments it tells its usage; without its library it does not start.
    if (output.status.code != 127) return check;
    check.found = output.error_line;
  } catch (const Error& error) {
    check.found = error.what();
  }
  check.verdict = Verdict::kWarning;
  check.advice = "install libguestfs0 and libguestfs-xfs: OS facts, and file systems that need the appliance";
  return check;
}

Check check_fuse() {
  constexpr const char* kDevice = "/dev/fuse";
  if (::access(kDevice, R_OK | W_OK) == 0) return {.name = "FUSE", .found = kDevice};
  return {.name = "FUSE",
          .verdict = Verdict::kWarning,
          .found = fmt::format("{} cannot be opened", kDevice),
          .advice = "load the module fuse, or run where it is: 'vmpack mount' needs it"};
}

}  // namespace

std::vector<Check> check_host() {
  std::vector<Check> checks;
  for (const Program& program : kPrograms) checks.push_back(check_program(program));
  checks.push_back(check_libguestfs());
  checks.push_back(check_fuse());
  checks.push_back(check_kvm());
  return checks;
}

}  // namespace vmpack::cli::doctor
