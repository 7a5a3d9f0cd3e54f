// SPDX-License-Identifier: Apache-2.0
#include <fmt/core.h>

#include <array>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/source/nbd_connection.hpp"
#include "tools/doctor/boot_lines.hpp"
#include "tools/doctor/check.hpp"

namespace vmpack::cli::doctor {

Check check_server(const std::string& uri, const std::string& name, std::uint64_t image_bytes) {
  Check check{.name = "server"};
  try {
    const NbdPatience patience{std::chrono::seconds(5), std::chrono::seconds(10)};
    NbdConnection connection({.uri = uri_text(parse_server(uri), name)}, patience,
                             [] { return std::string(); });
    std::array<std::byte, 512> first{};
    connection.read(0, first);
    check.found = fmt::format("{} serves {}, {}", printable(uri), name, format_bytes(connection.size()));
    if (connection.size() == image_bytes) return check;
    check.found += fmt::format(", not the {} of the snapshot", format_bytes(image_bytes));
    check.advice = "the server has another repository: give it the one that --repo names";
  } catch (const std::exception& error) {
    check.found = fmt::format("{}: {}", printable(uri), printable(error.what()));
    check.advice =
        "start 'vmserve --repo REPO --nbd ADDR' there, and let this host through (firewall, rules, TLS)";
  }
  check.verdict = Verdict::kProblem;
  return check;
}

}  // namespace vmpack::cli::doctor
