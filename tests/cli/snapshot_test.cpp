// SPDX-License-Identifier: Apache-2.0
// What a machine changed on top of a snapshot becomes a new one, without its base being read.
#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <thread>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

namespace fs = std::filesystem;

/// A base that was ingested as "base:1", and an overlay on top of it.
class Machine {
 public:
  explicit Machine(const std::vector<std::string>& overlay_options = {}, std::uint64_t bytes = 24 * kMiB) {
    make_sample_image(base(), bytes, 1);
    base_facts_ = repository_.ingest(base(), "base:1");
    std::vector<std::string> create{"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base()};
    create.insert(create.end(), overlay_options.begin(), overlay_options.end());
    create.push_back(overlay());
    run_tool(create);
  }

  [[nodiscard]] const SampleRepository& repository() const { return repository_; }
  [[nodiscard]] std::string base() const { return repository_ / "base.raw"; }
  [[nodiscard]] std::string overlay() const { return repository_ / "overlay.qcow2"; }
  [[nodiscard]] std::string digest() const { return base_facts_.at("snapshot"); }

  /// Requests of qemu-io on the overlay.
  void write(const std::vector<std::string>& requests) const {
    std::vector<std::string> command{"qemu-io", "-f", "qcow2"};
    for (const std::string& request : requests) command.insert(command.end(), {"-c", request});
    command.push_back(overlay());
    run_tool(command);
  }
  /// Puts a file's bytes where the guest would write them.
  void write_bytes(std::uint64_t offset, const Bytes& bytes) const {
    const std::string file = repository_ / "bytes";
    write_file(file, bytes);
    write({"write -s " + file + " " + std::to_string(offset) + " " + std::to_string(bytes.size())});
  }
  /// What the guest sees; made before the base is taken away.
  [[nodiscard]] std::string flat() const {
    const std::string path = repository_ / "flat.raw";
    run_tool({"qemu-img", "convert", "-O", "raw", overlay(), path});
    return path;
  }
  void take_base_away() const { fs::rename(base(), base() + ".away"); }
  /// Says in the overlay's header that it lies on something else.
  void rename_base(const std::string& name) const {
    run_tool({"qemu-img", "rebase", "-u", "-F", "raw", "-b", name, overlay()});
  }

  [[nodiscard]] CommandResult try_snapshot(const std::string& name,
                                           const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{"snapshot",  "base:1",  name,     "--no-os",
                                       "--overlay", overlay(), "--repo", repository_.path()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return vmpack(arguments);
  }
  [[nodiscard]] OrderedJson snapshot(const std::string& name,
                                     const std::vector<std::string>& more = {}) const {
    std::vector<std::string> arguments{"--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const CommandResult result = try_snapshot(name, arguments);
    INFO(result.out << result.err);
    REQUIRE(result.exit_code == 0);
    return OrderedJson::parse(result.out);
  }
  void require_same(const std::string& reference, const std::string& raw) const {
    const std::string restored = repository_ / "restored";
    repository_.restore(reference, restored);
    REQUIRE(sha256_of(restored) == sha256_of(raw));
  }

 private:
  SampleRepository repository_;
  OrderedJson base_facts_;
};

std::uint64_t bytes_below(const std::string& folder) {
  std::uint64_t bytes = 0;
  for (const std::string& file : files_below(folder)) bytes += fs::file_size(folder + "/" + file);
  return bytes;
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a snapshot of an overlay is the disk that the machine saw, and its base is not needed for it") {
  for (const std::vector<std::string>& options :
       std::vector<std::vector<std::string>>{{},
                                             {"-o", "cluster_size=4k"},
                                             {"-o", "cluster_size=2M"},
                                             {"-o", "extended_l2=on,cluster_size=64k"},
                                             {"-o", "compat=0.10"}}) {
    const Machine machine(options);
    machine.write_bytes(3 * kMiB + 512, random_bytes(1, 100'000 / 512 * 512));
    machine.write_bytes(9 * kMiB, text_bytes(2, 2 * kMiB));
    machine.write({"write -P 0x77 5M 4k", "write -z 1M 192k", "write -P 0 14M 300k", "write -P 1 20M 64k"});
    if (options.empty() || !contains(options[1], "compat"))
      machine.write({"discard 20M 64k", "discard 0 64k"});
    const std::string flat = machine.flat();
    machine.take_base_away();
    const OrderedJson facts = machine.snapshot("base:2");
    CHECK(facts.at("parent") == machine.digest());
    machine.require_same("base:2", flat);
    machine.require_same("base:1", machine.base() + ".away");
    machine.repository().require_intact();
  }
}

TEST_CASE("an overlay that nothing was written to adds no data") {
  const Machine machine;
  const OrderedJson facts = machine.snapshot("base:2", {"--no-facts"});
  CHECK(facts.at("changed_bytes") == 0);
  CHECK(facts.at("frames_new") == 0);
  machine.require_same("base:2", machine.base());
}

TEST_CASE("what was written and is as before counts as unchanged") {
  const Machine machine;
  const Bytes all = read_file(machine.base());
  machine.write_bytes(kMiB, Bytes(all.begin() + kMiB, all.begin() + 3 * kMiB));
  machine.write({"write -P 0x42 1M 4k"});
  const OrderedJson facts = machine.snapshot("base:2", {"--no-facts"});
  CHECK(facts.at("changed_bytes") == 4096);
  machine.require_same("base:2", machine.flat());
}

TEST_CASE("a file system that is changed by mounting it comes back, and its files are known") {
  const Machine machine;
  const std::string changed = machine.repository() / "changed.raw";
  fs::copy_file(machine.base(), changed);
  write_file(machine.repository() / "new", text_bytes(9, 700'000));
  debugfs(changed, {"write " + (machine.repository() / "new") + " /new.txt", "rm /a/block-and-byte",
                    "set_super_value state 0"});
  run_tool({"qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-B", machine.base(), "-F", "raw", changed,
            machine.overlay()});
  (void)machine.snapshot("base:2");
  machine.require_same("base:2", changed);
  machine.repository().require_intact();
  // The file table is the one that an ingest of the same disk makes.
  const SampleRepository other;
  other.ingest(changed, "whole:1");
  const auto table_bytes = [](const SampleRepository& repository, std::size_t expected) {
    std::vector<Bytes> tables;
    for (const std::string& key : files_below(repository.path())) {
      if (key.starts_with("files/")) tables.push_back(read_file(repository.path() + "/" + key));
    }
    CHECK(tables.size() == expected);
    return tables;
  };
  const std::vector<Bytes> tables = table_bytes(machine.repository(), 2);
  const std::vector<Bytes> whole = table_bytes(other, 1);
  CHECK(std::ranges::find(tables, whole.front()) != tables.end());
}

TEST_CASE("snapshots of snapshots come back, each as it was") {
  const Machine machine;
  std::vector<std::string> flats{machine.base()};
  std::string parent = "base:1";
  for (int i = 2; i < 8; ++i) {
    machine.write_bytes((static_cast<std::uint64_t>(i) * 3 - 4) * kMiB, random_bytes(i, 70'656));
    const std::string flat = machine.repository() / ("flat" + std::to_string(i));
    run_tool({"qemu-img", "convert", "-O", "raw", machine.overlay(), flat});
    flats.push_back(flat);
    const std::string name = "base:" + std::to_string(i);
    // All that was written since base:1 is more than what changed since the last one, and as good.
    vmpack_done({"snapshot", parent, name, "--no-os", "--overlay", machine.overlay(), "--repo",
                 machine.repository().path()});
    parent = name;
  }
  for (std::size_t i = 0; i < flats.size(); ++i) {
    machine.require_same("base:" + std::to_string(i + 1), flats[i]);
  }
  machine.repository().require_intact();
}

TEST_CASE("an overlay on an overlay is followed to the base") {
  const Machine machine;
  machine.write({"write -P 0x11 2M 100k", "write -P 0x12 8M 64k"});
  const std::string top = machine.repository() / "top.qcow2";
  run_tool({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", machine.overlay(), top});
  run_tool({"qemu-io", "-f", "qcow2", "-c", "write -P 0x22 2100k 8k", "-c", "write -z 8M 64k", top});
  const std::string flat = machine.repository() / "flat.raw";
  run_tool({"qemu-img", "convert", "-O", "raw", top, flat});
  machine.take_base_away();
  vmpack_done(
      {"snapshot", "base:1", "base:2", "--no-os", "--overlay", top, "--repo", machine.repository().path()});
  machine.require_same("base:2", flat);
}

TEST_CASE("a disk that was grown comes back larger, and one that was shrunk is refused") {
  const Machine machine;
  run_tool({"qemu-img", "resize", "-q", machine.overlay(), "40M"});
  machine.write({"write -P 0x33 38M 100k"});
  const std::string flat = machine.flat();
  CHECK(fs::file_size(flat) == 40 * kMiB);
  (void)machine.snapshot("base:2");
  machine.require_same("base:2", flat);
  fs::remove(machine.overlay());
  run_tool({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", machine.base(), machine.overlay(),
            "12M"});
  require_one_line(machine.try_snapshot("base:3", {"--quiet"}), 1, {"smaller"});
}

TEST_CASE("an overlay of another snapshot is refused") {
  const Machine machine;
  machine.write({"write -P 0x33 1M 4k"});
  const std::string digest = machine.digest();
  machine.rename_base("nbd://localhost/base@" + digest.substr(0, 12));
  CHECK(machine.try_snapshot("base:2").err.empty());
  std::string other = digest;
  other[3] = other[3] == '0' ? '1' : '0';
  machine.rename_base("nbd://localhost/base@" + other.substr(0, 12));
  require_one_line(machine.try_snapshot("base:3"), 1, {"lies on", other.substr(0, 12)});
  machine.rename_base("nbd+unix:///base:1?socket=/run/vmserve.sock");
  CHECK(machine.try_snapshot("base:4").exit_code == 0);
  machine.rename_base("nbd+unix:///base:gone?socket=/run/vmserve.sock");
  require_one_line(machine.try_snapshot("base:5"), 1, {"base:gone", "--base-moved"});
  CHECK(machine.try_snapshot("base:5", {"--base-moved"}).exit_code == 0);
  machine.rename_base("elsewhere.raw");
  const CommandResult unchecked = machine.try_snapshot("base:6");
  CHECK(unchecked.exit_code == 0);
  CHECK(contains(unchecked.err, "not checked"));
}

TEST_CASE("what is no overlay is refused") {
  const Machine machine;
  const std::string whole = machine.repository() / "whole.qcow2";
  run_tool({"qemu-img", "convert", "-O", "qcow2", machine.base(), whole});
  const auto snapshot_of = [&](const std::string& file) {
    return vmpack({"snapshot", "base:1", "base:2", "--no-os", "--overlay", file, "--repo",
                   machine.repository().path()});
  };
  require_one_line(snapshot_of(whole), 2, {"no backing file", "--parent"});
  require_one_line(snapshot_of(machine.base()), 2, {"not a qcow2 overlay"});
  require_one_line(snapshot_of(machine.repository() / "nothing"), 1, {"nothing"});
  require_one_line(machine.try_snapshot("base:1"), 1, {"exists already"});
}

TEST_CASE("a snapshot costs little more than what changed, compressed on its own") {
  const Machine machine({}, 64 * kMiB);
  Bytes changed = text_bytes(5, 6 * kMiB);
  const Bytes noise = random_bytes(6, 2 * kMiB);
  changed.insert(changed.end(), noise.begin(), noise.end());
  machine.write_bytes(40 * kMiB, changed);
  write_file(machine.repository() / "changed", changed);
  run_tool({"zstd", "-q", "-2", machine.repository() / "changed", "-o", machine.repository() / "compressed"});
  const std::uint64_t before = bytes_below(machine.repository().path());
  (void)machine.snapshot("base:2");
  const std::uint64_t growth = bytes_below(machine.repository().path()) - before;
  const std::uint64_t own = fs::file_size(machine.repository() / "compressed");
  INFO("growth " << growth << " for " << own);
  CHECK(growth <= own * 115 / 100 + 256 * kKiB);
}

TEST_CASE("a dirty bitmap says what changed, and the export's bytes are taken there") {
  const Machine machine;
  const std::string disk = machine.repository() / "disk.qcow2";
  run_tool({"qemu-img", "convert", "-O", "qcow2", machine.base(), disk});
  run_tool({"qemu-img", "bitmap", "--add", disk, "since"});
  run_tool({"qemu-io", "-f", "qcow2", "-c", "write -P 0x44 3M 100k", "-c", "write -z 6M 64k", disk});
  const std::string socket = machine.repository() / "socket";
  const int server = start_command({"qemu-nbd", "--read-only", "--persistent", "--bitmap=since",
                                    "--format=qcow2", "--socket=" + socket, disk});
  for (int i = 0; i < 500 && !fs::exists(socket); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const std::string uri = "nbd+unix:///?socket=" + socket;
  const auto snapshot = [&](const std::string& bitmap) {
    return vmpack({"snapshot", "base:1", "base:2", "--no-os", "--nbd", uri, "--bitmap", bitmap, "--repo",
                   machine.repository().path()});
  };
  require_one_line(snapshot("other"), 1, {"other", "bitmap"});
  const CommandResult result = snapshot("since");
  ::kill(server, SIGTERM);
  static_cast<void>(wait_for(server));
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  const std::string flat = machine.repository() / "flat.raw";
  run_tool({"qemu-img", "convert", "-O", "raw", disk, flat});
  machine.require_same("base:2", flat);
}

TEST_CASE("an image ingested below a parent comes back, and only what differs is packed") {
  const Machine machine;
  const std::string changed = machine.repository() / "changed.raw";
  fs::copy_file(machine.base(), changed);
  overwrite(changed, 13 * kMiB, random_bytes(3, 300'000));
  overwrite(changed, 2 * kMiB, Bytes(100'000));
  const OrderedJson facts = machine.repository().ingest(changed, "base:2", {"--parent", "base:1"});
  CHECK(facts.at("changed_bytes") < 320'000);
  machine.require_same("base:2", changed);
  const OrderedJson again = machine.repository().ingest(machine.base(), "base:3", {"--parent", "base:2"});
  CHECK(again.at("changed_bytes") < 420'000);
  machine.require_same("base:3", machine.base());
  machine.repository().require_intact();
}

}  // namespace vmpack::test
