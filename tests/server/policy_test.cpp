// SPDX-License-Identifier: Apache-2.0
#include "server/policy.hpp"

#include <catch2/catch.hpp>
#include <fstream>

#include "libvmpack/base/error.hpp"
#include "tests/support/temp_dir.hpp"

namespace vmpack {
namespace {

using test::TempDir;

std::string write(const TempDir& folder, const std::string& name, std::string_view text) {
  const std::string path = folder / name;
  std::ofstream(path) << text;
  return path;
}

TEST_CASE("settings without files make a policy that allows everything") {
  const PolicyPtr policy = make_policy({});
  CHECK(policy->access.empty());
  CHECK(policy->tokens.empty());
  CHECK(policy->tls == nullptr);
}

TEST_CASE("a token is known by its secret") {
  const TempDir folder;
  const auto ci = write(folder, "ci", "  0123456789abcdef\n");
  const auto ops = write(folder, "ops", "fedcba9876543210");
  const PolicyPtr policy = make_policy({.tokens = {{"ci", ci}, {"ops", ops}}});
  CHECK(policy->tokens.name_of("0123456789abcdef") == "ci");
  CHECK(policy->tokens.name_of("fedcba9876543210") == "ops");
  CHECK(policy->tokens.name_of("0123456789abcdef\n") == std::nullopt);
  CHECK(policy->tokens.name_of("") == std::nullopt);
}

TEST_CASE("a token without a good secret or a name of its own is refused") {
  const TempDir folder;
  const auto good = write(folder, "good", "0123456789abcdef");
  for (const std::string_view text : {"", "short", "\n\n", "two words of a secret"})
    CHECK_THROWS_AS(make_policy({.tokens = {{"ci", write(folder, "bad", text)}}}), Error);
  CHECK_THROWS_AS(make_policy({.tokens = {{"ci", folder / "nowhere"}}}), Error);
  CHECK_THROWS_AS(make_policy({.tokens = {{"", good}}}), Error);
  CHECK_THROWS_AS(make_policy({.tokens = {{"ci", good}, {"ci", good}}}), Error);
  CHECK_THROWS_AS(make_policy({.tokens = {{"ci", write(folder, "huge", std::string(2'000'000, 'x'))}}}),
                  Error);
}

}  // namespace
}  // namespace vmpack
