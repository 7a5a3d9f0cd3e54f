// SPDX-License-Identifier: Apache-2.0
#include "server/options.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <sstream>

#include "libvmpack/base/units.hpp"
#include "tests/support/require_error.hpp"

namespace vmpack {
namespace {

struct Parsed {
  explicit Parsed(std::vector<const char*> arguments) {
    arguments.insert(arguments.begin(), "vmserve");
    result = parse_options(static_cast<int>(arguments.size()), arguments.data(), out, err);
  }
  std::ostringstream out;
  std::ostringstream err;
  ParsedOptions result;
};

void check_wrong(std::vector<const char*> arguments, std::string_view reason) {
  const Parsed parsed(std::move(arguments));
  CHECK_FALSE(parsed.result.settings);
  CHECK(parsed.result.exit_code == 2);
  INFO(parsed.err.str());
  CHECK(parsed.err.str().find(reason) != std::string::npos);
}

TEST_CASE("the repository is all that is needed") {
  const Parsed parsed({"--repo", "/srv/images"});
  REQUIRE(parsed.result.settings);
  const Settings& settings = *parsed.result.settings;
  CHECK(settings.repository == "/srv/images");
  CHECK(settings.nbd.empty());  // the default is taken unless systemd hands over sockets
  CHECK(settings.cache.memory_bytes == 512 * kMiB);
  CHECK(settings.threads >= 1);
  CHECK(settings.log_level == "info");
}

TEST_CASE("the repository may come from the environment") {
  ::setenv("VMPACK_REPO", "/from/environment", 1);
  const Parsed parsed({});
  ::unsetenv("VMPACK_REPO");
  REQUIRE(parsed.result.settings);
  CHECK(parsed.result.settings->repository == "/from/environment");
}

TEST_CASE("several addresses may be served") {
  const Parsed parsed(
      {"--repo", "r", "--nbd", "[::1]:1", "--nbd", "unix:s", "--cache", "2G", "--threads", "3"});
  REQUIRE(parsed.result.settings);
  CHECK(parsed.result.settings->nbd.size() == 2);
  CHECK(parsed.result.settings->cache.memory_bytes == 2 * kGiB);
  CHECK(parsed.result.settings->threads == 3);
}

TEST_CASE("wrong usage ends in one clear message and exit code 2") {
  check_wrong({}, "--repo");
  check_wrong({"--repo", "r", "--nbd", "127.0.0.1:http"}, "127.0.0.1:http");
  check_wrong({"--repo", "r", "--cache", "lots"}, "lots");
  check_wrong({"--repo", "r", "--cache", "1M"}, "64M");
  check_wrong({"--repo", "r", "--threads", "0"}, "threads");
  check_wrong({"--repo", "r", "--log-level", "loud"}, "log-level");
  check_wrong({"--repo", "r", "surplus"}, "surplus");
}

TEST_CASE("help and version exit with 0") {
  const Parsed help({"--help"});
  CHECK(help.result.exit_code == 0);
  CHECK_FALSE(help.result.settings);
  CHECK(help.out.str().find("--nbd") != std::string::npos);
  const Parsed version({"--version"});
  CHECK(version.result.exit_code == 0);
  CHECK(version.out.str().starts_with("vmserve "));
}

}  // namespace
}  // namespace vmpack
