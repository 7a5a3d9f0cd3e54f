// SPDX-License-Identifier: Apache-2.0
// Certificates, keys and secrets for tests of TLS, made anew in each run.
#pragma once

#include <string>

#include "libvmpack/base/bytes.hpp"
#include "server/settings.hpp"
#include "tests/server/client.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack::test {

/// A folder with an authority and what it signed: the certificates "server", "client" (host-7), "nameless"
/// (only an alternative name, mail.example), "revoked" (named in revoked.pem, which is in no one's way until
/// it is called ca-crl.pem), "misused" (host-7 again, but for servers alone), "old" (expired); "foreign" is
/// another authority's. keys.psk holds alice's key.
class TlsFiles {
 public:
  TlsFiles();

  [[nodiscard]] const std::string& folder() const { return folder_.path(); }
  [[nodiscard]] std::string operator/(std::string_view name) const { return folder_ / name; }
  [[nodiscard]] TlsSettings certificates(TlsMode mode = TlsMode::kRequired,
                                         bool verify_clients = false) const;
  [[nodiscard]] TlsSettings keys(TlsMode mode = TlsMode::kRequired) const;

  [[nodiscard]] ClientTls client(const std::string& certificate = {}) const;
  [[nodiscard]] ClientTls alice() const;

 private:
  void issue(const std::string& file, const std::string& subject, const std::string& extensions,
             const std::string& days = "30");

  TempDir folder_;
};

/// The same for all tests of a program, since making them takes its time. Nobody changes them.
[[nodiscard]] const TlsFiles& tls_files();

}  // namespace vmpack::test
