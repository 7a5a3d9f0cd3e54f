// SPDX-License-Identifier: Apache-2.0
#include "tools/doctor/boot_lines.hpp"

#include <fmt/core.h>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/json.hpp"

namespace vmpack::cli::doctor {
namespace {

constexpr std::string_view kDefaultPort = "10809";
constexpr std::string_view kCredentials =
    "/etc/pki/qemu";  // where libvirt, too, looks for a client's certificates
constexpr std::string_view kOverlayFolder = "/var/lib/libvirt/images";

/// As one word of a shell.
std::string shell_word(std::string_view text) {
  if (text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789@%+=:,./_-[]?") ==
      std::string_view::npos) {
    return std::string(text);
  }
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string xml_text(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '\'':
        escaped += "&apos;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

/// QEMU's option lists end a value at a comma, unless it is doubled.
std::string option_value(std::string_view text) {
  std::string doubled;
  for (const char c : text) doubled += c == ',' ? std::string(",,") : std::string(1, c);
  return doubled;
}

std::string qemu_server(const ServerAddress& server) {
  if (!server.socket.empty())
    return fmt::format("file.server.type=unix,file.server.path={}", option_value(server.socket));
  return fmt::format("file.server.type=inet,file.server.host={},file.server.port={}",
                     option_value(server.host), server.port);
}

std::string qemu_line(const ServerAddress& server, std::string_view name, bool kvm) {
  std::string line = fmt::format("qemu-system-x86_64 -accel {} -m 1024 -nographic",
                                 kvm ? "kvm -cpu host" : "tcg,thread=multi");
  std::string drive =
      fmt::format("driver=raw,file.driver=nbd,{},file.export={}", qemu_server(server), option_value(name));
  if (server.tls) {
    line += fmt::format(" -object tls-creds-x509,id=tls0,endpoint=client,dir={}", kCredentials);
    drive += ",file.tls-creds=tls0";
  }
  return fmt::format("{} -drive {}", line, shell_word(drive + ",if=virtio,snapshot=on"));
}

/// qcow2 remembers it as its backing file.
std::string backing_name(const ServerAddress& server, std::string_view name) {
  if (!server.tls) return uri_text(server, name);
  OrderedJson file = {{"driver", "nbd"}, {"export", name}, {"tls-creds", "tls0"}};
  file["server"] = {{"type", "inet"}, {"host", server.host}, {"port", server.port}};
  return "json:" + dump_json_line({{"driver", "raw"}, {"file", file}});
}

std::string overlay_line(const ServerAddress& server, std::string_view name, std::string_view overlay) {
  std::string line = "qemu-img create -q";
  if (server.tls) {
    line += fmt::format(" --object tls-creds-x509,id=tls0,endpoint=client,dir={}", kCredentials);
  }
  return fmt::format("{} -f qcow2 -F raw -b {} {}", line, shell_word(backing_name(server, name)),
                     shell_word(overlay));
}

std::string libvirt_source(const ServerAddress& server, std::string_view name, std::string_view indent) {
  const auto host = server.socket.empty()
                        ? fmt::format("<host name='{}' port='{}'/>", xml_text(server.host), server.port)
                        : fmt::format("<host transport='unix' socket='{}'/>", xml_text(server.socket));
  return fmt::format("{0}<source protocol='nbd' name='{1}'{2}>\n{0}  {3}\n{0}</source>\n", indent,
                     xml_text(name), server.tls ? " tls='yes'" : "", host);
}

std::string libvirt_disk(const ServerAddress& server, std::string_view name) {
  return fmt::format(
      "<disk type='network' device='disk'>\n"
      "  <driver name='qemu' type='raw' cache='none'/>\n"
      "{}"
      "  <target dev='vda' bus='virtio'/>\n"
      "  <readonly/>\n"
      "</disk>\n",
      libvirt_source(server, name, "  "));
}

std::string libvirt_domain(const ServerAddress& server, std::string_view name, std::string_view machine,
                           std::string_view overlay, bool kvm) {
  return fmt::format(
      "<domain type='{}'>\n"
      "  <name>{}</name>\n"
      "  <memory unit='MiB'>1024</memory>\n"
      "  <vcpu>1</vcpu>\n"
      "  <os>\n"
      "    <type arch='x86_64'>hvm</type>\n"
      "    <boot dev='hd'/>\n"
      "  </os>\n"
      "  <features><acpi/></features>\n"
      "  <devices>\n"
      "    <disk type='file' device='disk'>\n"
      "      <driver name='qemu' type='qcow2'/>\n"
      "      <source file='{}'/>\n"
      "      <backingStore type='network'>\n"
      "        <format type='raw'/>\n"
      "{}"
      "      </backingStore>\n"
      "      <target dev='vda' bus='virtio'/>\n"
      "    </disk>\n"
      "    <console type='pty'/>\n"
      "  </devices>\n"
      "</domain>\n",
      kvm ? "kvm" : "qemu", xml_text(machine), xml_text(overlay), libvirt_source(server, name, "        "));
}

Error bad_server(std::string_view uri) {
  return {ErrorCode::kInvalid, fmt::format("{} is no NBD server", printable(uri)),
          "write nbd://HOST[:PORT], nbds://HOST[:PORT] or 'nbd+unix:///?socket=/PATH'"};
}

bool is_plain(std::string_view text) {
  return !text.empty() && printable(text) == text && text.find_first_of(" '\"<>&") == std::string_view::npos;
}

}  // namespace

ServerAddress parse_server(std::string_view uri) {
  constexpr std::string_view kUnix = "nbd+unix://";
  constexpr std::string_view kSocket = "?socket=";
  ServerAddress server;
  if (uri.starts_with(kUnix)) {
    const auto at = uri.find(kSocket);
    if (at == std::string_view::npos || !is_plain(uri.substr(at + kSocket.size()))) throw bad_server(uri);
    server.socket = std::string(uri.substr(at + kSocket.size()));
    return server;
  }
  server.tls = uri.starts_with("nbds://");
  if (!server.tls && !uri.starts_with("nbd://")) throw bad_server(uri);
  auto rest = uri.substr(uri.find("://") + 3);
  rest = rest.substr(0, rest.find('/'));
  const auto bracket = rest.rfind(']');
  const auto colon = rest.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  auto host = rest.substr(0, has_port ? colon : rest.size());
  const auto port = has_port ? rest.substr(colon + 1) : kDefaultPort;
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (!is_plain(host) || port.empty() || port.find_first_not_of("0123456789") != std::string_view::npos)
    throw bad_server(uri);
  server.host = std::string(host);
  server.port = std::string(port);
  return server;
}

std::string uri_text(const ServerAddress& server, std::string_view name) {
  if (!server.socket.empty()) return fmt::format("nbd+unix:///{}?socket={}", name, server.socket);
  const bool numeric_v6 = server.host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}/{}", server.tls ? "nbds" : "nbd", numeric_v6 ? "[" : "", server.host,
                     numeric_v6 ? "]" : "", server.port, name);
}

BootLines boot_lines(const ServerAddress& server, std::string_view name, std::string_view machine, bool kvm) {
  const auto overlay = fmt::format("{}/{}.qcow2", kOverlayFolder, machine);
  return {
      .qemu = qemu_line(server, name, kvm),
      .overlay = overlay_line(server, name, overlay),
      .libvirt_disk = libvirt_disk(server, name),
      .libvirt_domain = libvirt_domain(server, name, machine, overlay, kvm),
      .virt_install =
          fmt::format("virt-install --name {} --memory 1024 --vcpus 1 --virt-type {} --osinfo "
                      "detect=on,require=off --import --disk path={},format=qcow2,bus=virtio --network "
                      "none --graphics none",
                      machine, kvm ? "kvm" : "qemu", overlay),
  };
}

}  // namespace vmpack::cli::doctor
