// SPDX-License-Identifier: Apache-2.0
// vmpack log: what was ever committed under a name.
#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

/// web:v1, then web:v2 which shares half of it; both were web:latest, which is v2 now.
class TwoBuilds {
 public:
  TwoBuilds() {
    Bytes bytes = random_bytes(1, 2 * kMiB);
    write_file(image(), bytes);
    first_ = repository_.ingest(image(), "web:latest", {"--label", "build=1"}).at("snapshot");
    tag("web:latest", "web:v1");
    overwrite(image(), kMiB, random_bytes(2, kMiB));
    second_ = repository_.ingest(image(), "web:latest", {"--label", "build=2", "--force"}).at("snapshot");
    tag("web:latest", "web:v2");
  }

  [[nodiscard]] OrderedJson log(const std::string& name) const {
    return vmpack_json({"log", name, "--repo", repository_.path()});
  }
  void tag(const std::string& from, const std::string& to) const {
    vmpack_done({"tag", from, to, "--repo", repository_.path()});
  }
  [[nodiscard]] std::string image() const { return repository_ / "image"; }
  [[nodiscard]] const SampleRepository& repository() const { return repository_; }
  [[nodiscard]] const std::string& first() const { return first_; }
  [[nodiscard]] const std::string& second() const { return second_; }

 private:
  SampleRepository repository_{memory_folder()};
  std::string first_;
  std::string second_;
};

const OrderedJson& entry_of(const OrderedJson& log, const std::string& snapshot) {
  for (const OrderedJson& entry : log.at("snapshots")) {
    if (entry.at("snapshot") == snapshot) return entry;
  }
  FAIL("no " << snapshot << " in " << log.dump(2));
  throw;  // not reached
}

}  // namespace

TEST_CASE("log tells every snapshot of a name, its references, labels and sizes") {
  const TwoBuilds builds;
  const OrderedJson log = builds.log("web");
  CHECK(log.at("name") == "web");
  REQUIRE(log.at("snapshots").size() == 2);
  const OrderedJson& first = entry_of(log, builds.first());
  const OrderedJson& second = entry_of(log, builds.second());
  std::vector<std::string> members;
  for (const auto& [name, value] : first.items()) members.push_back(name);
  CHECK(members == std::vector<std::string>{"snapshot", "parent", "named", "references", "time",
                                            "image_bytes", "data_bytes", "added_bytes", "labels"});
  CHECK(first.at("references") == OrderedJson{"web:v1"});
  CHECK(second.at("references") == OrderedJson{"web:latest", "web:v2"});
  CHECK(first.at("labels") == OrderedJson{{"build", "1"}});
  CHECK(first.at("named") == true);
  CHECK(second.at("image_bytes") == 2 * kMiB);
  const auto added =
      first.at("added_bytes").get<std::uint64_t>() + second.at("added_bytes").get<std::uint64_t>();
  CHECK(added > 3 * kMiB);
  CHECK(added < 3 * kMiB + 256 * kKiB);
}

TEST_CASE("a snapshot whose last tag is gone stays in the log, and can be named by its digest") {
  const TwoBuilds builds;
  vmpack_done({"untag", "web:v1", "--repo", builds.repository().path()});
  CHECK(entry_of(builds.log("web"), builds.first()).at("references").empty());
  const OrderedJson alone = builds.log("web@" + builds.first().substr(0, 16));
  REQUIRE(alone.at("snapshots").size() == 1);
  CHECK(alone.at("snapshots")[0].at("snapshot") == builds.first());
  CHECK(builds.log("web:v2").at("snapshots").size() == 1);
}

TEST_CASE("log shows digests, tags and labels to people, in the characters that their terminal has") {
  const TwoBuilds builds;
  builds.tag("web:v1", "prod:now");
  const std::vector<std::string> command{"log", "web", "--repo", builds.repository().path()};
  const std::string text = vmpack_done(command);
  for (const std::string& word :
       {builds.first().substr(0, 12), builds.second().substr(0, 12), std::string("latest, v2"),
        std::string("prod:now, v1"), std::string("build=2"), std::string("SNAPSHOT")}) {
    INFO(word << " in\n" << text);
    CHECK(text.find(word) != std::string::npos);
  }
  for (const std::string locale : {"C", "C.UTF-8"}) {
    CommandOptions options;
    options.environment = {{"LC_ALL", locale}};
    CHECK_FALSE(vmpack_done(command, options).empty());
  }
}

TEST_CASE("log names what nobody committed, and what is damaged") {
  const TwoBuilds builds;
  const std::string& folder = builds.repository().path();
  require_one_line(vmpack({"log", "nobody", "--repo", folder}), 1, {"nobody"});
  require_one_line(vmpack({"log", "web:v9", "--repo", folder}), 1, {"web:v9"});
  require_one_line(vmpack({"log", "../x", "--repo", folder}), 2, {"../x"});
  write_file(folder + "/snapshots/" + builds.first() + ".json", "{}");
  const CommandResult result = vmpack({"log", "web", "--json", "--repo", folder});
  CHECK(result.exit_code == 3);
  CHECK(result.err.find(builds.first()) != std::string::npos);
  CHECK(OrderedJson::parse(result.out).at("snapshots").size() == 1);
}

}  // namespace vmpack::test
