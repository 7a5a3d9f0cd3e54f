// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <fstream>
#include <sstream>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/units.hpp"
#include "server/config/file.hpp"
#include "server/config/settings.hpp"
#include "server/options.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

/// A file of settings, and what vmserve makes of it.
struct ConfigUnderTest {
  explicit ConfigUnderTest(std::string_view text) { std::ofstream(path()) << text; }

  [[nodiscard]] std::string path() const { return folder / "vmserve.toml"; }
  [[nodiscard]] Settings settings(std::vector<std::string> flags = {}) {
    const ParsedOptions parsed = parse(std::move(flags));
    INFO(err.str());
    REQUIRE(parsed.settings);
    return *parsed.settings;
  }
  ParsedOptions parse(std::vector<std::string> flags) {
    flags.insert(flags.begin(), {"vmserve", "--config", path()});
    std::vector<const char*> arguments;
    for (const auto& flag : flags) arguments.push_back(flag.c_str());
    return parse_options(static_cast<int>(arguments.size()), arguments.data(), out, err);
  }

  test::TempDir folder;
  std::ostringstream out;
  std::ostringstream err;
};

void check_refused(std::string_view text, std::string_view reason) {
  ConfigUnderTest config(text);
  const ParsedOptions parsed = config.parse({});
  CHECK_FALSE(parsed.settings);
  CHECK(parsed.exit_code == 2);
  INFO(config.err.str());
  CHECK(config.err.str().find(reason) != std::string::npos);
}

constexpr std::string_view kEverything = R"(
repo = "/srv/images"
nbd = ["127.0.0.1:10809", "unix:/run/vmserve/nbd.sock"]
http = ["[::1]:8080"]
cache = "2G"
disk-cache = "/var/cache/vmserve"
disk-cache-size = "20G"
threads = 3
tls = "require"
https = true
tls-certificates = "/etc/vmserve/tls"
tls-psk = "/etc/vmserve/keys"
tls-verify-peer = true
log-level = "warn"
log-format = "json"
drain = 30
user = "vmserve"
sandbox = "off"
ready-file = "/run/vmserve/ready"

[limits]
connections = 4096
connections-per-address = 100
handshake = "10s"
idle = "1h"
send-stall = 90
requests = 1000
bytes = "128M"
connection-requests = 32
connection-bytes = 41943040

[[access]]
exports = ["web:*"]
clients = ["cert:build", "address:10.0.0.0/8"]

[[access]]
exports = ["*"]
clients = ["unix"]

[[token]]
name = "ci"
file = "/etc/vmserve/ci.token"
)";

TEST_CASE("a file can say everything that is to be set") {
  const Settings settings = ConfigUnderTest(kEverything).settings();
  CHECK(settings.repository == "/srv/images");
  CHECK(settings.nbd.size() == 2);
  CHECK(settings.http.size() == 1);
  CHECK(settings.cache.memory_bytes == 2 * kGiB);
  CHECK(settings.cache.disk_folder == "/var/cache/vmserve");
  CHECK(settings.cache.disk_bytes == 20 * kGiB);
  CHECK(settings.threads == 3);
  CHECK(settings.tls.nbd == TlsMode::kRequired);
  CHECK(settings.tls.http);
  CHECK(settings.tls.verify_clients);
  CHECK(settings.log_format == LogFormat::kJson);
  CHECK(settings.drain == std::chrono::seconds(30));
  CHECK(settings.user == "vmserve");
  CHECK_FALSE(settings.sandbox);
  CHECK(settings.limits.connections == 4096);
  CHECK(settings.limits.handshake == std::chrono::seconds(10));
  CHECK(settings.limits.idle == std::chrono::hours(1));
  CHECK(settings.limits.bytes_in_flight == 128 * kMiB);
  CHECK(settings.limits.connection_bytes_in_flight == 40 * kMiB);
  REQUIRE(settings.access.size() == 2);
  CHECK(settings.access.front().clients == std::vector<std::string>{"cert:build", "address:10.0.0.0/8"});
  REQUIRE(settings.tokens.size() == 1);
  CHECK(settings.tokens.front().file == "/etc/vmserve/ci.token");
}

TEST_CASE("what --check-config prints says the same when it is read again") {
  ConfigUnderTest first(kEverything);
  const std::string described = config::describe(first.settings());
  ConfigUnderTest second(described);
  CHECK(config::describe(second.settings()) == described);
}

TEST_CASE("--check-config prints the settings, and looks into the files that they name") {
  ConfigUnderTest good("repo = \"/r\"\n");
  CHECK(good.parse({"--check-config"}).exit_code == 0);
  CHECK(good.out.str() == config::describe(good.settings()));
  ConfigUnderTest bad("repo = \"/r\"\ntls = \"on\"\ntls-psk = \"missing\"\n");
  CHECK(bad.parse({"--check-config"}).exit_code == 2);
  CHECK(bad.err.str().find("missing") != std::string::npos);
}

TEST_CASE("defaults are printed so that they can be read again as well") {
  const std::string described = config::describe(ConfigUnderTest("repo = \"/r\"").settings());
  CHECK(config::describe(ConfigUnderTest(described).settings()) == described);
}

TEST_CASE("a flag wins over the file") {
  ConfigUnderTest config("repo = \"a\"\nnbd = [\"unix:a\", \"unix:b\"]\nhttps = false\ncache = \"1G\"\n");
  const Settings settings = config.settings({"--repo", "/b", "--nbd", "unix:/c", "--log-level", "debug"});
  CHECK(settings.repository == "/b");
  REQUIRE(settings.nbd.size() == 1);
  CHECK(std::get<UnixAddress>(settings.nbd.front()).path == "/c");
  CHECK(settings.cache.memory_bytes == 1 * kGiB);
}

TEST_CASE("paths in a file are relative to its folder, and URLs are left alone") {
  ConfigUnderTest config(
      "repo = \"images\"\nnbd = \"unix:nbd.sock\"\ndisk-cache = \"../c\"\n"
      "disk-cache-size = \"1G\"\n[[token]]\nname = \"a\"\nfile = \"t\"\n");
  const Settings settings = config.settings();
  CHECK(settings.repository == config.folder / "images");
  CHECK(std::get<UnixAddress>(settings.nbd.front()).path == config.folder / "nbd.sock");
  CHECK(settings.tokens.front().file == config.folder / "t");
  CHECK(ConfigUnderTest("repo = \"s3://bucket/x\"\n").settings().repository == "s3://bucket/x");
}

TEST_CASE("whatever is wrong in a file is refused with its line, and what was meant") {
  check_refused("repo = \"r\"\ncahce = \"1G\"\n", "vmserve.toml:2: unknown key cahce; did you mean cache?");
  check_refused("repo = \"r\"\n[limits]\nconections = 5\n",
                "vmserve.toml:3: unknown key conections; did you mean connections?");
  check_refused("repo = \"r\"\nxyzzyxyzzy = 1\n", "known are limits");
  check_refused("repo = 5\n", ":1: repo must be a string");
  check_refused("repo = \"r\"\nnbd = [1]\n", ":2: nbd must be a list of strings");
  check_refused("repo = \"r\"\nhttps = \"yes\"\n", ":2: https must be true or false");
  check_refused("repo = \"r\"\nthreads = \"many\"\n", ":2: threads must be a whole number");
  check_refused("repo = \"r\"\nthreads = 0\n", ":2: threads: it must be from 1 to 256");
  check_refused("repo = \"r\"\nthreads = -1\n", ":2: threads");
  check_refused("repo = \"r\"\ncache = \"1M\"\n", ":2: cache: it must be at least 64M");
  check_refused("repo = \"r\"\ncache = 1.5\n", ":2: cache must be a number, or a string with a unit");
  check_refused("repo = \"r\"\ntls = \"maybe\"\n", "is none of off, on, require");
  check_refused("repo = \"r\"\ntls = \"on\"\n", "--tls-certificates");
  check_refused("repo = \"r\"\nnbd = [\"1:2:3\"]\n", ":2: nbd: bad address");
  check_refused("repo = \"r\"\ndrain = \"2d\"\n", ":2: drain: it must be from 0 to 3600 seconds");
  check_refused("repo = \"r\"\naccess = 1\n", "must be written as [[access]]");
  check_refused("repo = \"r\"\n[[access]]\nexports = [\"*\"]\n", "needs exports and clients");
  check_refused("repo = \"r\"\n[[access]]\nexport = [\"*\"]\n",
                ":3: unknown key export; did you mean exports?");
  check_refused("repo = \"r\"\n[[token]]\nname = \"a\"\n", "a token needs a name and the file");
  check_refused("repo = \"r\"\nlimits = 4\n", "write [limits]");
  check_refused("repo = \"r\"\nrepo = \"s\"\n", ":2:");
  check_refused("repo = \n", ":1:");
  check_refused("repo = \"r\"\n[limits]\nbytes = \"64M\"\nconnection-bytes = \"128M\"\n",
                "bytes at least as large");
  check_refused(std::string(1 * kMiB + 1, '#'), "more than 1.0 MiB");
}

TEST_CASE("every setting is told of where users look") {
  std::ifstream file(std::string(std::getenv("VMPACK_SOURCE_DIR")) + "/docs/serving.md");
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  for (const auto table : {config::settings_table(), config::limits_table()}) {
    for (const auto& setting : table)
      CHECK(text.find("`" + std::string(setting.name) + "`") != std::string::npos);
  }
}

TEST_CASE("a mistyped word finds the nearest one, and nonsense none") {
  const std::vector<std::string_view> words = {"repo", "cache", "tls-psk"};
  CHECK(config::nearest_word("cach", words) == "cache");
  CHECK(config::nearest_word("tls_psk", words) == "tls-psk");
  CHECK(config::nearest_word("entirely-else", words).empty());
  CHECK(config::nearest_word("x", {}).empty());
}

}  // namespace
}  // namespace vmpack
