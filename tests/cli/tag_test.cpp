// SPDX-License-Identifier: Apache-2.0
// vmpack tag and untag.
#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

class Tagged {
 public:
  Tagged() {
    for (const std::string number : {"1", "2"}) {
      make_mixed_disk(repository_ / number, kMiB, number == "1" ? 1 : 2);
      repository_.ingest(repository_ / number, "web:v" + number);
    }
  }

  [[nodiscard]] CommandResult run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--repo", repository_.path()});
    return vmpack(arguments);
  }
  [[nodiscard]] OrderedJson run_json(std::vector<std::string> arguments) const {
    arguments.insert(arguments.end(), {"--repo", repository_.path()});
    return vmpack_json(arguments);
  }
  [[nodiscard]] std::string digest_of(const std::string& reference) const {
    return run_json({"show", reference}).at("snapshot");
  }
  /// The sequence of a reference, 0 where there is none.
  [[nodiscard]] std::uint64_t sequence_of(const std::string& reference) const {
    const OrderedJson listed = run_json({"list"});
    for (const OrderedJson& entry : listed.at("references")) {
      if (entry.at("reference") == reference) return entry.at("sequence");
    }
    return 0;
  }
  void require_restores(const std::string& reference, const std::string& image) const {
    repository_.restore(reference, repository_ / "out");
    CHECK(same_bytes(repository_ / "out", repository_ / image));
  }
  [[nodiscard]] const SampleRepository& repository() const { return repository_; }

 private:
  SampleRepository repository_{memory_folder()};
};

}  // namespace

TEST_CASE("a tag gives a snapshot another reference, of the same name or of another one") {
  const Tagged tagged;
  const OrderedJson facts = tagged.run_json({"tag", "web:v1", "web:stable"});
  CHECK(facts.at("reference") == "web:stable");
  CHECK(facts.at("snapshot") == tagged.digest_of("web:v1"));
  CHECK(tagged.run({"tag", "web:v1", "prod"}).exit_code == 0);
  const std::string digest = tagged.digest_of("web:v1").substr(0, 12);
  CHECK(tagged.run({"tag", "web@" + digest, "prod:by-digest"}).exit_code == 0);
  for (const std::string& reference : {std::string("web:stable"), std::string("prod:latest"),
                                       std::string("prod:by-digest"), "prod@" + digest}) {
    tagged.require_restores(reference, "1");
  }
  tagged.repository().require_intact();
}

TEST_CASE("a tag that is there is moved by force alone, and one that stands is left as it is") {
  const Tagged tagged;
  require_one_line(tagged.run({"tag", "web:v1", "web:v2"}), 1, {"web:v2", "exists", "--force"});
  CHECK(tagged.sequence_of("web:v2") == 1);
  CHECK(tagged.run({"tag", "web:v1", "web:v2", "--force"}).exit_code == 0);
  CHECK(tagged.sequence_of("web:v2") == 2);
  tagged.require_restores("web:v2", "1");
  CHECK(tagged.run({"tag", "web:v1", "web:v2"}).exit_code == 0);
  CHECK(tagged.sequence_of("web:v2") == 2);
}

TEST_CASE("untag takes the reference away, and nothing else") {
  const Tagged tagged;
  const std::string digest = tagged.digest_of("web:v1");
  const OrderedJson facts = tagged.run_json({"untag", "web:v1"});
  CHECK(facts ==
        OrderedJson{{"reference", "web:v1"}, {"snapshot", digest}, {"references", OrderedJson::array()}});
  CHECK(tagged.sequence_of("web:v1") == 0);
  require_one_line(tagged.run({"show", "web:v1"}), 1, {"web:v1"});
  require_one_line(tagged.run({"untag", "web:v1"}), 1, {"web:v1"});
  tagged.require_restores("web@" + digest.substr(0, 12), "1");
  tagged.require_restores("web:v2", "2");
  CHECK(tagged.run_json({"stats"}).at("references") == 1);
  tagged.repository().require_intact();
}

TEST_CASE("untag says under which names the snapshot stays") {
  const Tagged tagged;
  CHECK(tagged.run({"tag", "web:v1", "prod:now"}).exit_code == 0);
  const std::string digest = tagged.digest_of("web:v1").substr(0, 12);
  const CommandResult result = tagged.run({"untag", "web:v1"});
  CHECK(result.out == "web:v1 is removed; its snapshot stays: web@" + digest + ", prod:now\n");
}

TEST_CASE("a reference that is set again goes on in its sequence") {
  const Tagged tagged;
  CHECK(tagged.run({"untag", "web:v1"}).exit_code == 0);
  CHECK(tagged.run({"tag", "web:v2", "web:v1"}).exit_code == 0);
  CHECK(tagged.sequence_of("web:v1") == 3);
  CHECK(tagged.run({"untag", "web:v1"}).exit_code == 0);
  tagged.repository().ingest(tagged.repository() / "1", "web:v1");
  CHECK(tagged.sequence_of("web:v1") == 5);
  tagged.require_restores("web:v1", "1");
}

TEST_CASE("tags that make no sense are refused by name") {
  const Tagged tagged;
  const std::string digest = tagged.digest_of("web:v1").substr(0, 12);
  require_one_line(tagged.run({"tag", "web:v1", "web@" + digest}), 2, {"web@" + digest});
  require_one_line(tagged.run({"untag", "web@" + digest}), 2, {"web@" + digest});
  require_one_line(tagged.run({"tag", "web:v1", "a/b:c"}), 2, {"a/b:c"});
  require_one_line(tagged.run({"tag", "web:v9", "web:v1"}), 1, {"web:v9"});
  require_one_line(tagged.run({"tag", "web:v1"}), 2, {"NEW-REF"});
}

}  // namespace vmpack::test
