// SPDX-License-Identifier: Apache-2.0
// The tables of what can be set. docs/serving.md tells of each (a test holds it to that).
#include <algorithm>
#include <array>

#include "libvmpack/read/frame_cache.hpp"
#include "libvmpack/store/disk_cache.hpp"
#include "server/config/setting.hpp"

namespace vmpack::config {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr std::array<std::string_view, 4> kLogLevels = {"debug", "info", "warn", "error"};
constexpr std::array<std::string_view, 2> kLogFormats = {"text", "json"};
constexpr std::array<std::string_view, 3> kTlsModes = {"off", "on", "require"};
constexpr std::array<std::string_view, 2> kSandboxModes = {"on", "off"};

std::size_t log_level_index(const Settings& settings) {
  return static_cast<std::size_t>(std::ranges::find(kLogLevels, settings.log_level) - kLogLevels.begin());
}

const std::array kSettings = std::to_array<Setting>({
    {"repo", "REPO", "Repository: a folder, s3://BUCKET/PREFIX or rados://POOL/PREFIX (or $VMPACK_REPO)",
     PathField{[](Settings& s) -> std::string& { return s.repository; }}, Change::kRestart},
    {"nbd", "ADDR",
     "Serve NBD on ADDRESS:PORT or unix:PATH; may be repeated (default: 127.0.0.1:10809, or the sockets "
     "that systemd hands over)",
     AddressesField{[](Settings& s) -> std::vector<ListenAddress>& { return s.nbd; }, "10809"},
     Change::kRestart},
    {"http", "ADDR", "Answer HTTP on ADDRESS:PORT or unix:PATH; may be repeated",
     AddressesField{[](Settings& s) -> std::vector<ListenAddress>& { return s.http; }, "8080"},
     Change::kRestart},
    {"cache", "SIZE", "Memory for decoded frames, as in 512M or 2G",
     SizeField{[](Settings& s) -> std::uint64_t& { return s.cache.memory_bytes; }, kFrameCacheBytesMin},
     Change::kRestart},
    {"disk-cache", "DIR", "Folder for a second level of the cache, which survives restarts",
     PathField{[](Settings& s) -> std::string& { return s.cache.disk_folder; }}, Change::kRestart},
    {"disk-cache-size", "SIZE", "Space that the folder of --disk-cache may take",
     SizeField{[](Settings& s) -> std::uint64_t& { return s.cache.disk_bytes; }, kDiskCacheBytesMin},
     Change::kRestart},
    {"threads", "N", "Network threads (default: one for each processor)",
     NumberField{[](Settings& s) -> std::uint64_t& { return s.threads; }, 1, kThreadsMax}, Change::kRestart},
    {"tls", "off|on|require", "TLS for NBD: offered (on), or nobody served without it (require)",
     ChoiceField{kTlsModes, [](const Settings& s) { return static_cast<std::size_t>(s.tls.nbd); },
                 [](Settings& s, std::size_t index) { s.tls.nbd = static_cast<TlsMode>(index); }}},
    {"https", "", "HTTPS instead of HTTP", SwitchField{[](Settings& s) -> bool& { return s.tls.http; }}},
    {"tls-certificates", "DIR", "Folder with server-cert.pem, server-key.pem and ca-cert.pem",
     PathField{[](Settings& s) -> std::string& { return s.tls.certificates; }}},
    {"tls-psk", "FILE", "Keys of clients, for NBD: NAME:KEY-IN-HEX a line",
     PathField{[](Settings& s) -> std::string& { return s.tls.psk_file; }}},
    {"tls-verify-peer", "", "Clients must show a certificate that ca-cert.pem signed",
     SwitchField{[](Settings& s) -> bool& { return s.tls.verify_clients; }}},
    {"log-level", "debug|info|warn|error", "How much to say on stderr",
     ChoiceField{kLogLevels, log_level_index,
                 [](Settings& s, std::size_t index) { s.log_level = kLogLevels[index]; }}},
    {"log-format", "text|json", "How to say it",
     ChoiceField{kLogFormats, [](const Settings& s) { return static_cast<std::size_t>(s.log_format); },
                 [](Settings& s, std::size_t index) { s.log_format = static_cast<LogFormat>(index); }},
     Change::kRestart},
    {"drain", "SECONDS", "How long requests under way may take after the signal to stop",
     SecondsField{[](Settings& s) -> seconds& { return s.drain; }, seconds(0), hours(1)}},
    {"user", "NAME", "User to become once the addresses are bound; needs root",
     TextField{[](Settings& s) -> std::string& { return s.user; }}, Change::kRestart},
    {"sandbox", "on|off", "Give up the rights to change files and to start programs, once started",
     ChoiceField{kSandboxModes, [](const Settings& s) { return static_cast<std::size_t>(!s.sandbox); },
                 [](Settings& s, std::size_t index) { s.sandbox = index == 0; }},
     Change::kRestart},
    {"ready-file", "FILE",
     "Write the URIs that are served to this file, one a line, once clients may connect",
     PathField{[](Settings& s) -> std::string& { return s.ready_file; }}, Change::kRestart},
});

const std::array kLimits = std::to_array<Setting>({
    {"connections", "N", "Connections at once",
     NumberField{[](Settings& s) -> std::uint64_t& { return s.limits.connections; }, 1, 1'000'000}},
    {"connections-per-address", "N", "Connections at once from one IP address",
     NumberField{[](Settings& s) -> std::uint64_t& { return s.limits.connections_per_address; }, 1,
                 1'000'000}},
    {"handshake", "SECONDS", "From connecting to the first request",
     SecondsField{[](Settings& s) -> seconds& { return s.limits.handshake; }, seconds(1), minutes(10)}},
    {"idle", "SECONDS", "Without any request on an NBD connection; 0: for ever",
     SecondsField{[](Settings& s) -> seconds& { return s.limits.idle; }, seconds(0), hours(24 * 365)}},
    {"send-stall", "SECONDS", "How long a client may take none of the bytes that wait for it",
     SecondsField{[](Settings& s) -> seconds& { return s.limits.send_stall; }, seconds(1), hours(1)}},
    {"requests", "N", "Requests under way, of all clients together",
     NumberField{[](Settings& s) -> std::uint64_t& { return s.limits.requests_in_flight; }, 16, 1'000'000},
     Change::kRestart},
    {"bytes", "SIZE", "Memory for replies under way, of all clients together",
     SizeField{[](Settings& s) -> std::uint64_t& { return s.limits.bytes_in_flight; }, 64 * kMiB},
     Change::kRestart},
    {"connection-requests", "N", "Requests under way on one connection",
     NumberField{[](Settings& s) -> std::uint64_t& { return s.limits.connection_requests_in_flight; }, 4,
                 1024}},
    {"connection-bytes", "SIZE", "Memory for replies under way on one connection",
     SizeField{[](Settings& s) -> std::uint64_t& { return s.limits.connection_bytes_in_flight; }, 40 * kMiB}},
});

}  // namespace

std::span<const Setting> settings_table() { return kSettings; }

std::span<const Setting> limits_table() { return kLimits; }

}  // namespace vmpack::config
