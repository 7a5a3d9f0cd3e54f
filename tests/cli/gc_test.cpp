// SPDX-License-Identifier: Apache-2.0
// vmpack forget, hold and gc: what is named stays byte for byte, what is not goes.
// VMPACK_KILLS says how often a collection is killed (20 without it).
#include <signal.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

/// Disks of one machine, each a bit further than the one before.
class Builds {
 public:
  explicit Builds(const SampleRepository& repository) : repository_(repository) {
    use_small_packs(repository);
    make_sample_image(disk(0), 12 * kMiB, 1);
    overwrite(disk(0), 6 * kMiB, random_bytes(1, 4 * kMiB));
  }

  std::string disk(int number) const { return repository_ / ("disk-" + std::to_string(number)); }
  static std::string name(int number) { return "vm:" + std::to_string(number); }

  void make(int count) {
    for (int i = 0; i < count; ++i) {
      if (i > 0) {
        std::filesystem::copy_file(disk(i - 1), disk(i));
        overwrite(disk(i), 6 * kMiB + static_cast<std::uint64_t>(i % 4) * kMiB,
                  random_bytes(static_cast<std::uint64_t>(i) + 100, kMiB));
      }
      repository_.ingest(disk(i), name(i));
    }
  }

  void require(int number) const {
    INFO(name(number));
    repository_.restore(name(number), repository_ / "out");
    REQUIRE(same_bytes(repository_ / "out", disk(number)));
  }

  [[nodiscard]] std::string digest(int number) const {
    return vmpack_json({"show", name(number), "--repo", repository_.path()}).at("snapshot");
  }

 private:
  const SampleRepository& repository_;
};

OrderedJson gc(const SampleRepository& repository, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments{"gc", "--repo", repository.path()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return vmpack_json(arguments);
}

template <typename Condition>
void wait_until(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    REQUIRE(std::chrono::steady_clock::now() < deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

std::uint64_t size_of(const std::string& folder) {
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    bytes += entry.is_regular_file() ? entry.file_size() : 0;
  return bytes;
}

}  // namespace

TEST_CASE("gc frees what forgotten snapshots alone needed, and keeps the others byte for byte") {
  const SampleRepository repository(memory_folder());
  Builds builds(repository);
  builds.make(8);
  const std::uint64_t before = size_of(repository.path());
  const OrderedJson forgotten =
      vmpack_json({"forget", "vm", "--keep-last", "2", "--keep-tag", "3", "--repo", repository.path()});
  CHECK(forgotten.at("forgotten") == 5);
  const auto expected = forgotten.at("freed_bytes").get<std::uint64_t>();
  CHECK(expected > 2 * kMiB);

  const OrderedJson marked = gc(repository);
  CHECK(marked.at("deleted").at("files") == 0);
  CHECK(marked.at("waiting").at("files") > 0);
  CHECK(size_of(repository.path()) >= before);
  repository.require_intact();

  const OrderedJson done = gc(repository, {"--grace", "0s"});
  CHECK(done.at("waiting").at("files") == 0);
  CHECK(before - size_of(repository.path()) >= expected * 85 / 100);
  for (const int kept : {3, 6, 7}) builds.require(kept);
  repository.require_intact();

  // What is there is found again, and nothing is left to do.
  const OrderedJson again = repository.ingest(builds.disk(7), "vm:again");
  CHECK(again.at("objects_new") == 0);
  const OrderedJson idle = gc(repository, {"--grace", "0s"});
  CHECK(idle.at("marked").at("files") == 0);
  CHECK(idle.at("moved").at("frames") == 0);
}

TEST_CASE("gc merges small packs, and drops nothing that is named") {
  const SampleRepository repository(memory_folder());
  Builds builds(repository);
  builds.make(1);
  const auto count_packs = [&] {
    int packs = 0;
    for (const auto& [key, bytes] : repository.contents()) packs += key.starts_with("packs/") ? 1 : 0;
    return packs;
  };
  for (int i = 1; i <= 12; ++i) {
    std::filesystem::copy_file(builds.disk(i - 1), builds.disk(i));
    overwrite(builds.disk(i), kMiB + static_cast<std::uint64_t>(i) * 64 * kKiB,
              random_bytes(static_cast<std::uint64_t>(i), 8 * kKiB));
    repository.ingest(builds.disk(i), builds.name(i));
  }
  const int before = count_packs();
  gc(repository, {"--grace", "0s"});
  CHECK(count_packs() < before - 8);
  for (int i = 0; i <= 12; ++i) builds.require(i);
  repository.require_intact();
}

TEST_CASE("a held snapshot outlives its references") {
  const SampleRepository repository(memory_folder());
  Builds builds(repository);
  builds.make(2);
  const std::string held = "vm@" + builds.digest(0);
  const OrderedJson hold = vmpack_json({"hold", held, "--note", "a guest", "--repo", repository.path()});
  vmpack_done({"forget", "vm:0", "--repo", repository.path(), "--quiet"});
  gc(repository, {"--grace", "0s"});
  repository.restore(held, repository / "out");
  CHECK(same_bytes(repository / "out", builds.disk(0)));
  CHECK(vmpack_json({"hold", "--list", "--repo", repository.path()}).size() == 1);

  vmpack_done({"hold", "--release", hold.at("id"), "--repo", repository.path()});
  gc(repository, {"--grace", "0s"});
  require_one_line(vmpack({"restore", held, repository / "out", "--force", "--repo", repository.path()}), 1,
                   {"there is no snapshot"});
  builds.require(1);
}

TEST_CASE("gc asks servers what their clients have open, and keeps it") {
  const SampleRepository repository(memory_folder());
  Builds builds(repository);
  builds.make(2);
  const std::string open = "vm@" + builds.digest(0);
  const std::string socket = repository / "nbd.sock";
  const std::string ready = repository / "ready";
  const int server =
      start_command({program("VMSERVE"), "--repo", repository.path(), "--nbd", "unix:" + socket, "--http",
                     "127.0.0.1:0", "--ready-file", ready, "--log-level", "error"});
  wait_until([&] { return std::filesystem::exists(ready); });
  const Bytes uris = read_file(ready);
  const std::string text(as_text(uris));
  const std::string url = text.substr(text.find("http://"), text.rfind('\n') - text.find("http://"));
  const std::string connected = repository / "connected";
  const std::string client_script =
      "import nbd, pathlib, sys, time\n"
      "client = nbd.NBD()\n"
      "client.connect_uri(sys.argv[1])\n"
      "pathlib.Path(sys.argv[2]).touch()\n"
      "time.sleep(600)\n";
  const int client = start_command(
      {"/usr/bin/python3", "-c", client_script, "nbd+unix:///" + open + "?socket=" + socket, connected});
  wait_until([&] { return std::filesystem::exists(connected); });

  vmpack_done({"forget", "vm:0", "--repo", repository.path(), "--quiet"});
  gc(repository, {"--grace", "0s", "--ask", url});
  repository.restore(open, repository / "out");
  CHECK(same_bytes(repository / "out", builds.disk(0)));

  ::kill(client, SIGKILL);
  static_cast<void>(wait_for(client));
  wait_until([&] { return run_or_throw({"curl", "-sS", url + "/in-use"}).find("[]") != std::string::npos; });
  gc(repository, {"--grace", "0s", "--ask", url});
  CHECK(vmpack({"show", open, "--repo", repository.path()}).exit_code == 1);

  ::kill(server, SIGTERM);
  CHECK(wait_for(server) == 0);
  require_one_line(vmpack({"gc", "--ask", url, "--repo", repository.path()}), 1,
                   {"cannot ask", "nothing is collected"});
  builds.require(1);
}

TEST_CASE("what is marked and named again before it goes is kept") {
  const SampleRepository repository(memory_folder());
  Builds builds(repository);
  builds.make(3);
  const std::string digest = "vm@" + builds.digest(1);
  vmpack_done({"forget", "vm:1", "--repo", repository.path(), "--quiet"});
  gc(repository);
  vmpack_done({"tag", digest, "vm:1", "--repo", repository.path(), "--quiet"});
  gc(repository, {"--grace", "0s"});
  for (int i = 0; i < 3; ++i) builds.require(i);
  repository.require_intact();
}

TEST_CASE("forget and gc only tell, when asked to") {
  const SampleRepository repository(memory_folder());
  Builds builds(repository);
  builds.make(3);
  const auto before = repository.contents();
  const OrderedJson told =
      vmpack_json({"forget", "vm", "--keep-last", "1", "--dry-run", "--repo", repository.path()});
  CHECK(told.at("forgotten") == 2);
  CHECK(told.at("freed_bytes") > 0);
  CHECK(gc(repository, {"--dry-run"}).at("marked").at("files") == 0);
  CHECK(repository.contents() == before);
  vmpack_done({"forget", "vm:0", "--repo", repository.path(), "--quiet"});
  CHECK(gc(repository, {"--dry-run"}).at("marked").at("files") > 0);
}

TEST_CASE("wrong uses of forget, hold and gc end in a line that says what to do") {
  const SampleRepository repository(memory_folder());
  Builds builds(repository);
  builds.make(1);
  const auto try_it = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), {"--repo", repository.path()});
    return vmpack(std::move(arguments));
  };
  require_one_line(try_it({"forget"}), 2, {"nothing says what to forget"});
  require_one_line(try_it({"forget", "vm:9"}), 1, {"there is no vm:9"});
  require_one_line(try_it({"forget", "other", "--keep-last", "1"}), 1, {"nothing in", "is called other"});
  require_one_line(try_it({"forget", "vm@0123"}), 2, {"digest"});
  require_one_line(try_it({"gc", "--grace", "soon"}), 2, {"bad duration"});
  require_one_line(try_it({"hold", "--release", "hold-1"}), 1, {"there is no hold"});
}

TEST_CASE("a collection killed at any moment has lost nothing, and the next one goes on") {
  const SampleRepository repository(memory_folder());
  Builds builds(repository);
  builds.make(6);
  vmpack_done({"forget", "vm", "--keep-last", "3", "--quiet", "--repo", repository.path()});
  const std::string trial = repository / "trial";
  const char* wanted = std::getenv("VMPACK_KILLS");
  const int kills = wanted != nullptr ? std::atoi(wanted) : 20;
  const std::vector<std::string> collect{program("VMPACK"), "gc",     "--grace", "0s",
                                         "--quiet",         "--repo", trial};
  const auto begin_trial = [&] {
    std::filesystem::remove_all(trial);
    std::filesystem::copy(repository.path(), trial, std::filesystem::copy_options::recursive);
  };
  const auto require_all = [&] {
    for (const int kept : {3, 4, 5}) {
      vmpack_done({"restore", Builds::name(kept), repository / "out", "--force", "--quiet", "--repo", trial});
      REQUIRE(same_bytes(repository / "out", builds.disk(kept)));
    }
    vmpack_done({"verify", "--repo", trial});
  };
  begin_trial();
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(wait_for(start_command(collect)) == 0);
  const auto whole =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  require_all();
  Random random(20'28);
  for (int i = 0; i < kills; ++i) {
    const std::chrono::microseconds delay(random.below(static_cast<std::uint64_t>(whole.count())));
    INFO("kill " << i << " after " << delay.count() << " microseconds");
    begin_trial();
    const int process = start_command(collect);
    std::this_thread::sleep_for(delay);
    ::kill(process, SIGKILL);
    static_cast<void>(wait_for(process));
    require_all();
    // The lease of the one that was killed is not over.
    std::filesystem::remove(trial + "/leases/collector");
    REQUIRE(wait_for(start_command(collect)) == 0);
    require_all();
  }
}

}  // namespace vmpack::test
