// SPDX-License-Identifier: Apache-2.0
#include "tests/server/tls_files.hpp"

#include <fstream>

#include "tests/server/bytes_of.hpp"
#include "tests/support/run_command.hpp"

namespace vmpack::test {
namespace {

constexpr std::string_view kAliceKey = "00112233445566778899aabbccddeeff";

void write(const std::string& path, std::string_view text) { std::ofstream(path) << text; }

}  // namespace

TlsFiles::TlsFiles() {
  for (const std::string authority : {"ca", "other"}) {
    run_or_throw({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                  "-nodes", "-days", "30", "-subj", "/CN=" + authority + " of a test", "-keyout",
                  folder_ / (authority + "-key.pem"), "-out", folder_ / (authority + "-cert.pem")});
  }
  issue("server", "/CN=localhost", "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth");
  issue("client", "/CN=host-7", "extendedKeyUsage=clientAuth");
  issue("nameless", "/O=somebody", "subjectAltName=DNS:mail.example,DNS:other.example");
  issue("revoked", "/CN=host-8", "extendedKeyUsage=clientAuth");
  issue("misused", "/CN=host-7", "extendedKeyUsage=serverAuth");
  issue("old", "/CN=host-7", "extendedKeyUsage=clientAuth", "-1");
  issue("foreign", "/CN=host-7", "extendedKeyUsage=clientAuth");
  write(folder_ / "database", "");
  write(folder_ / "authority.cnf",
        "[ca]\ndefault_ca = test\n[test]\ndefault_md = sha256\ndefault_crl_days = 30\ndatabase = " +
            (folder_ / "database") + "\n");
  const std::vector<std::string> authority{"openssl",  "ca",
                                           "-config",  folder_ / "authority.cnf",
                                           "-cert",    folder_ / "ca-cert.pem",
                                           "-keyfile", folder_ / "ca-key.pem"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), authority.begin(), authority.end());
    run_or_throw(more);
  };
  with({"-revoke", folder_ / "revoked-cert.pem"});
  with({"-gencrl", "-out", folder_ / "revoked.pem"});
  write(folder_ / "keys.psk", "alice:" + std::string(kAliceKey) + "\n");
}

void TlsFiles::issue(const std::string& file, const std::string& subject, const std::string& extensions,
                     const std::string& days) {
  const std::string authority = file == "foreign" ? "other" : "ca";
  const auto path = [&](const std::string& end) { return folder_ / (file + end); };
  run_or_throw({"openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", subject, "-keyout", path("-key.pem"), "-out", path(".csr")});
  write(path(".ext"), extensions + "\n");
  run_or_throw({"openssl", "x509", "-req", "-in", path(".csr"), "-CA", folder_ / (authority + "-cert.pem"),
                "-CAkey", folder_ / (authority + "-key.pem"), "-CAcreateserial", "-days", days, "-extfile",
                path(".ext"), "-out", path("-cert.pem")});
}

TlsSettings TlsFiles::certificates(TlsMode mode, bool verify_clients) const {
  return {.nbd = mode, .certificates = folder(), .verify_clients = verify_clients};
}

TlsSettings TlsFiles::keys(TlsMode mode) const { return {.nbd = mode, .psk_file = folder_ / "keys.psk"}; }

ClientTls TlsFiles::client(const std::string& certificate) const {
  return {.folder = folder(), .certificate = certificate};
}

ClientTls TlsFiles::alice() const { return {.key_name = "alice", .key = bytes_of(kAliceKey)}; }

const TlsFiles& tls_files() {
  static const TlsFiles files;
  return files;
}

}  // namespace vmpack::test
