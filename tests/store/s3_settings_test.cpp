// SPDX-License-Identifier: Apache-2.0
// Where an S3 store is and how to get in, from its URL, the environment and AWS's files.
#include "libvmpack/store/s3/s3_settings.hpp"

#include <catch2/catch.hpp>
#include <map>

#include "libvmpack/store/s3/aws_files.hpp"
#include "tests/support/files.hpp"
#include "tests/support/require_error.hpp"
#include "tests/support/temp_dir.hpp"

using namespace vmpack;
using namespace vmpack::test;

namespace {

using Variables = std::map<std::string, std::string>;

Environment environment_of(Variables variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
}

const Variables kKeys{{"AWS_ACCESS_KEY_ID", "variable"}, {"AWS_SECRET_ACCESS_KEY", "s"}};

Variables with_keys(const Variables& more) {
  Variables all = kKeys;
  all.insert(more.begin(), more.end());
  return all;
}

S3Settings settings_of(std::string_view location, const Variables& variables = kKeys) {
  return s3_settings(location, environment_of(variables));
}

std::string url_of(std::string_view location, const Variables& variables = kKeys,
                   std::string_view key = "a/b+c") {
  const S3Settings settings = settings_of(location, variables);
  return s3_url(settings, settings.region, key);
}

/// A home with AWS's files in it.
struct Home {
  Home() {
    write_file(folder / "config", R"(# a comment
[default]
region = eu-west-1
output = json

[profile ci]
region=eu-central-1
endpoint_url = http://ci:9000   ; behind it
s3 =
    addressing_style = virtual
    max_concurrent_requests = 20
ca_bundle = /etc/ci.pem
aws_access_key_id = config-key
aws_secret_access_key = config-secret

[ profile   local ]
services = local-services
region = here

[services local-services]
s3 =
  endpoint_url = http://s3.local:1
dynamodb =
  endpoint_url = http://dynamo.local:2
)");
    write_file(folder / "credentials", R"([default]
aws_access_key_id = default-key
aws_secret_access_key = a;b#c=d
[keys-only]
aws_access_key_id = only
aws_secret_access_key = only-secret
aws_session_token = only-token
)");
  }
  [[nodiscard]] Variables variables(const Variables& more = {}) const {
    Variables all{{"AWS_CONFIG_FILE", folder / "config"},
                  {"AWS_SHARED_CREDENTIALS_FILE", folder / "credentials"}};
    all.insert(more.begin(), more.end());
    return all;
  }
  TempDir folder;
};

}  // namespace

TEST_CASE("a location names bucket and prefix") {
  CHECK(settings_of("s3://bucket").prefix.empty());
  CHECK(settings_of("s3://bucket/").prefix.empty());
  CHECK(settings_of("s3://my.bucket-1/a/b/").bucket == "my.bucket-1");
  CHECK(settings_of("s3://bucket/a/b/").prefix == "a/b");
  for (const char* bad :
       {"s3://", "s3:///a", "s3://b", "s3://bu cket", "s3://bucket/a//b", "s3://bucket/../x",
        "s3://bucket/a b", "s3://-bucket", "s3://bucket?what=1", "s3://bucket?style",
        "s3://bucket?style=", "s3://bucket?style=x", "s3://bucket?region=a/b", "s3://bucket?endpoint=ftp://x",
        "s3://user@bucket/x", "s3://bucket:80/x", "s3://bucket?region=%zz"}) {
    INFO(bad);
    CHECK(error_of([&] { (void)settings_of(bad); }).code() == ErrorCode::kInvalid);
  }
}

TEST_CASE("AWS's own endpoint is the region's, with the bucket in the host's name") {
  CHECK(url_of("s3://bucket/p") == "https://bucket.s3.us-east-1.amazonaws.com/a/b%2Bc");
  CHECK(url_of("s3://bucket", kKeys, "") == "https://bucket.s3.us-east-1.amazonaws.com/");
  CHECK(url_of("s3://dotted.bucket?region=eu-west-1") ==
        "https://s3.eu-west-1.amazonaws.com/dotted.bucket/a/b%2Bc");
  CHECK(url_of("s3://bucket?style=path&region=cn-north-1") ==
        "https://s3.cn-north-1.amazonaws.com.cn/bucket/a/b%2Bc");
}

TEST_CASE("an endpoint of one's own has the bucket in its path, unless asked otherwise") {
  const Variables variables = with_keys({{"AWS_ENDPOINT_URL", "http://host:9000/"}});
  CHECK(url_of("s3://bucket", variables) == "http://host:9000/bucket/a/b%2Bc");
  CHECK(url_of("s3://bucket", variables, "") == "http://host:9000/bucket");
  CHECK(url_of("s3://bucket?style=virtual", variables) == "http://bucket.host:9000/a/b%2Bc");
  CHECK(url_of("s3://bucket?endpoint=https%3A%2F%2Fother/base", variables) ==
        "https://other/base/bucket/a/b%2Bc");
  for (const char* bad : {"host:9000", "http://", "http:///x", "http://user:secret@host", "http://host?x",
                          "http://ho st", "file:///x"}) {
    const Error error =
        error_of([&] { (void)settings_of("s3://bucket", with_keys({{"AWS_ENDPOINT_URL", bad}})); });
    CHECK(error.code() == ErrorCode::kInvalid);
  }
}

TEST_CASE("the URL goes before the variables, and those before the files") {
  const Home home;
  const auto region = [&](std::string_view location, const Variables& more) {
    return settings_of(location, home.variables(more)).region;
  };
  CHECK(region("s3://bucket", {}) == "eu-west-1");
  CHECK(region("s3://bucket", {{"AWS_DEFAULT_REGION", "r2"}}) == "r2");
  CHECK(region("s3://bucket", {{"AWS_DEFAULT_REGION", "r2"}, {"AWS_REGION", "r1"}}) == "r1");
  CHECK(region("s3://bucket?region=r0", {{"AWS_REGION", "r1"}}) == "r0");
  const auto endpoint = [&](std::string_view location, const Variables& more) {
    return settings_of(location, home.variables(more)).endpoint;
  };
  CHECK(endpoint("s3://bucket", {}).empty());
  CHECK(endpoint("s3://bucket?profile=ci", {}) == "http://ci:9000");
  CHECK(endpoint("s3://bucket", {{"AWS_PROFILE", "local"}}) == "http://s3.local:1");
  CHECK(endpoint("s3://bucket?profile=ci", {{"AWS_ENDPOINT_URL", "http://all"}}) == "http://all");
  CHECK(endpoint("s3://bucket", {{"AWS_ENDPOINT_URL", "http://all"}, {"AWS_ENDPOINT_URL_S3", "http://s3"}}) ==
        "http://s3");
  CHECK(endpoint("s3://bucket?profile=ci", {{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"}}).empty());
}

TEST_CASE("a profile brings its keys, region, endpoint, style and authority") {
  const Home home;
  const S3Settings ci = settings_of("s3://bucket", home.variables({{"AWS_PROFILE", "ci"}}));
  CHECK(ci.credentials() == S3Credentials{"config-key", "config-secret", ""});
  CHECK(ci.region == "eu-central-1");
  CHECK(ci.endpoint == "http://ci:9000");
  CHECK(ci.virtual_host);
  CHECK(ci.http.ca_bundle == "/etc/ci.pem");
  CHECK(settings_of("s3://bucket", home.variables({{"AWS_CA_BUNDLE", "/mine"}})).http.ca_bundle == "/mine");
  CHECK(settings_of("s3://bucket", home.variables()).credentials() ==
        S3Credentials{"default-key", "a;b#c=d", ""});
  CHECK(settings_of("s3://bucket?profile=keys-only", home.variables()).credentials() ==
        S3Credentials{"only", "only-secret", "only-token"});
}

TEST_CASE("keys in variables go before a profile in one, and behind a profile in the URL") {
  const Home home;
  Variables variables = home.variables(kKeys);
  variables["AWS_SESSION_TOKEN"] = "t";
  CHECK(settings_of("s3://bucket", variables).credentials() == S3Credentials{"variable", "s", "t"});
  variables["AWS_PROFILE"] = "keys-only";
  CHECK(settings_of("s3://bucket", variables).credentials().access_key == "variable");
  CHECK(settings_of("s3://bucket?profile=keys-only", variables).credentials().access_key == "only");
}

TEST_CASE("missing credentials and profiles are told with what to do") {
  const Home home;
  const Error none = error_of([] { (void)settings_of("s3://bucket", {}).credentials(); });
  CHECK(none.code() == ErrorCode::kNotFound);
  CHECK_THAT(none.what(), Catch::Contains("AWS_ACCESS_KEY_ID"));
  CHECK_THAT(none.hint(), Catch::Contains("aws configure export-credentials"));
  const Error keyless =
      error_of([&] { (void)settings_of("s3://bucket?profile=local", home.variables()).credentials(); });
  CHECK_THAT(keyless.what(), Catch::Contains("'local'"));
  const Error unknown = error_of([&] { (void)settings_of("s3://bucket?profile=nobody", home.variables()); });
  CHECK(unknown.code() == ErrorCode::kNotFound);
  CHECK_THAT(unknown.what(), Catch::Contains("nobody") && Catch::Contains(home.folder / "config"));
}

TEST_CASE("files of any bytes are read without harm") {
  CHECK(parse_aws_file("").empty());
  CHECK(parse_aws_file("a = b\n=\n]\n").empty());
  CHECK(parse_aws_file("[").size() == 1);
  CHECK(parse_aws_file("[a]\n = b\n  c = d\n[a]\ne = f").at("a").size() == 3);
  CHECK(parse_aws_file("[a]\r\nb = c\r\n").at("a").at("b") == "c");
  CHECK(read_aws_file("/no/such/file").empty());
  const TempDir folder;
  write_file(folder / "large", std::string(kMiB + 1, '\n'));
  CHECK(error_of([&] { (void)read_aws_file(folder / "large"); }).code() == ErrorCode::kLimit);
}
