// SPDX-License-Identifier: Apache-2.0
// Everything that a vmserve can be told, from its command line or a file. Plain values: nothing is opened or
// read yet.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "server/limits.hpp"
#include "server/listener.hpp"

namespace vmpack {

inline constexpr std::uint64_t kThreadsMax = 256;

enum class TlsMode { kOff, kOffered, kRequired };

struct TlsSettings {
  TlsMode nbd = TlsMode::kOff;
  bool http = false;            ///< HTTPS instead of HTTP
  std::string certificates;     ///< folder with server-cert.pem, server-key.pem and ca-cert.pem; empty: none
  std::string psk_file;         ///< "name:key in hex" a line; empty: none. NBD only
  bool verify_clients = false;  ///< a client must show a certificate that ca-cert.pem signed
};

/// These clients may open these exports. Without any rule every client may open everything.
struct AccessRule {
  std::vector<std::string> exports;  ///< "web:v1", "web:*", "*"
  std::vector<std::string>
      clients;  ///< "cert:NAME", "psk:NAME", "token:NAME", "address:10.0.0.0/8", "unix", "*"
};

/// A secret that an HTTP client shows as `Authorization: Bearer`; whoever has it is "token:NAME".
struct TokenSettings {
  std::string name;
  std::string file;
};

struct CacheSettings {
  std::uint64_t memory_bytes = 0;
  std::string disk_folder;  ///< second level; empty: none
  std::uint64_t disk_bytes = 0;
};

enum class LogFormat { kText, kJson };

struct Settings {
  std::string repository;
  std::vector<ListenAddress> nbd;
  std::vector<ListenAddress> http;
  CacheSettings cache;
  std::uint64_t threads = 0;  ///< network threads
  std::string log_level;
  LogFormat log_format = LogFormat::kText;
  std::string ready_file;  ///< empty: none
  TlsSettings tls;
  std::vector<AccessRule> access;
  std::vector<TokenSettings> tokens;
  ServerLimits limits;
  std::string user;               ///< to become once listening; empty: stay who started it
  bool sandbox = true;            ///< give up what serving needs no rights for
  std::chrono::seconds drain{5};  ///< how long requests under way may take after the signal to stop
};

}  // namespace vmpack
