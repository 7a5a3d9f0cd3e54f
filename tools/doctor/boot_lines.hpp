// SPDX-License-Identifier: Apache-2.0
// What to type to boot an export of a server: pure text, nothing is run.
#pragma once

#include <string>
#include <string_view>

namespace vmpack::cli::doctor {

/// Where an NBD server is. Of `socket` and `host` one is empty.
struct ServerAddress {
  bool tls = false;
  std::string host;  ///< without brackets
  std::string port;
  std::string socket;
};

/// "nbd://host:port", "nbds://[::1]", "nbd+unix:///?socket=/path"; an export in it is left out. Throws
/// kInvalid.
[[nodiscard]] ServerAddress parse_server(std::string_view uri);
/// The URI of one of its exports.
[[nodiscard]] std::string uri_text(const ServerAddress& server, std::string_view name);

struct BootLines {
  std::string qemu;            ///< a shell command; what the machine writes goes to a throw-away overlay
  std::string overlay;         ///< makes the overlay that the two below boot
  std::string libvirt_disk;    ///< <disk type='network'>, read-only: for machines that only look at it
  std::string libvirt_domain;  ///< a whole domain
  std::string virt_install;
};

/// `machine` names it in libvirt. `kvm`: otherwise emulated.
[[nodiscard]] BootLines boot_lines(const ServerAddress& server, std::string_view name,
                                   std::string_view machine, bool kvm);

}  // namespace vmpack::cli::doctor
