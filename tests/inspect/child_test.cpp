// SPDX-License-Identifier: Apache-2.0
// Children that die, hang, babble or lie. They are small programs in the helper's place.
#include <fmt/core.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "libvmpack/base/error.hpp"
#include "libvmpack/inspect/layout_stream.hpp"
#include "tests/inspect/sample_disk.hpp"
#include "tests/support/files.hpp"
#include "tests/support/memory_source.hpp"

namespace vmpack::test {
namespace {

/// Puts a program in the place of vmpack-inspect-helper for as long as it lives.
class FakeHelper {
 public:
  explicit FakeHelper(ByteView program) {
    const std::string path = folder_ / "vmpack-inspect-helper";
    write_file(path, program);
    // The child runs as nobody.
    std::filesystem::permissions(folder_.path(), std::filesystem::perms(0755));
    std::filesystem::permissions(path, std::filesystem::perms(0755));
    ::setenv("VMPACK_HELPER_DIR", folder_.path().c_str(), 1);
  }
  ~FakeHelper() { ::unsetenv("VMPACK_HELPER_DIR"); }
  FakeHelper(const FakeHelper&) = delete;
  FakeHelper& operator=(const FakeHelper&) = delete;

 private:
  TempDir folder_;
};

/// A shell command that writes these bytes to the report.
std::string report(ByteView bytes) {
  std::string command = "printf '";
  for (const std::byte byte : bytes) command += fmt::format("\\{:03o}", std::to_integer<unsigned>(byte));
  return command + "' >&4";
}

Bytes stream(const std::function<void(LayoutStreamWriter&)>& tell) {
  Bytes bytes;
  LayoutStreamWriter writer([&bytes](ByteView part) { append(bytes, part); });
  tell(writer);
  return bytes;
}

Bytes no_table() {
  return stream([](LayoutStreamWriter& out) {
    out.table("", "");
    out.end(true);
  });
}

Bytes table_of_two() {
  return stream([](LayoutStreamWriter& out) {
    out.table("gpt", "id");
    out.partition({.range = {1 * kMiB, 1 * kMiB}, .number = 1});
    out.partition({.range = {2 * kMiB, 1 * kMiB}, .number = 2});
    out.end(true);
  });
}

Bytes one_file(std::string path) {
  return stream([&path](LayoutStreamWriter& out) {
    out.file_system({.type = "ext4"});
    FileEntry entry;
    entry.path = std::move(path);
    out.file(entry);
    out.end(true);
  });
}

struct Outcome {
  Layout layout;
  std::vector<std::string> warnings;
};

Outcome inspect_with_program(ByteView program, std::chrono::seconds time_max = std::chrono::seconds(20)) {
  MemorySource source(Bytes(8 * kMiB));  // no raw file: the child asks for its bytes
  const FakeHelper helper(program);
  WarningKeeper keeper;
  InspectOptions options;
  options.child_time_max = time_max;
  Layout layout = inspect(source, options, keeper);
  require_sane(layout);
  return {std::move(layout), keeper.warnings};
}

Outcome inspect_with(const std::string& script, std::chrono::seconds time_max = std::chrono::seconds(20)) {
  return inspect_with_program(as_byte_view("#!/bin/sh\n" + script + "\n"), time_max);
}

void require_opaque(const Outcome& outcome) {
  REQUIRE(outcome.layout.volumes.size() == 1);
  CHECK_FALSE(outcome.layout.volumes.front().inspected);
  CHECK(outcome.layout.volumes.front().range == ByteRange{0, 8 * kMiB});
  CHECK(outcome.layout.volumes.front().files.empty());
  REQUIRE(outcome.warnings.size() == 1);
  CHECK(outcome.warnings.front().find("the disk: ") == 0);
}

}  // namespace

TEST_CASE("a child that dies leaves an opaque volume, and the warning says how it died") {
  const Outcome outcome = inspect_with_program(read_file(VMPACK_CRASHING_HELPER));
  require_opaque(outcome);
  CHECK(outcome.warnings.front().find("signal") != std::string::npos);
}

TEST_CASE("what a child says before it gives up is in the warning") {
  const Outcome outcome = inspect_with("echo out of memory >&2; exit 1");
  require_opaque(outcome);
  CHECK(outcome.warnings.front().find("out of memory") != std::string::npos);
}

TEST_CASE("a child that hangs is ended at the time limit") {
  const auto start = std::chrono::steady_clock::now();
  const Outcome outcome = inspect_with("sleep 1000", std::chrono::seconds(1));
  require_opaque(outcome);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
}

TEST_CASE("a child that asks for bytes and never takes them is ended at the time limit") {
  // Requests for a MiB each: more than any socket holds.
  const std::string request =
      "\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\020\\000\\000\\000\\000\\000";
  const Outcome outcome = inspect_with("for i in 1 2 3 4; do printf '" + request + "' >&3; done; sleep 1000",
                                       std::chrono::seconds(1));
  require_opaque(outcome);
}

TEST_CASE("a child that asks for what is not there is ended") {
  const std::string request =
      "\\377\\377\\377\\377\\377\\377\\377\\177\\000\\020\\000\\000\\000\\000\\000\\000";
  const auto start = std::chrono::steady_clock::now();
  require_opaque(inspect_with("printf '" + request + "' >&3; sleep 1000"));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(10));
}

TEST_CASE("a child that reports nonsense is not believed") {
  SECTION("zeros") { require_opaque(inspect_with("head -c 100000 /dev/zero >&4")); }
  SECTION("noise") { require_opaque(inspect_with("head -c 100000 /dev/urandom >&4")); }
  SECTION("nothing") { require_opaque(inspect_with("exit 0")); }
  SECTION("half a report") {
    Bytes half = no_table();
    half.resize(half.size() / 2);
    require_opaque(inspect_with(report(half)));
  }
  SECTION("text") { require_opaque(inspect_with("yes >&4")); }
  SECTION("a path that climbs") {
    require_opaque(inspect_with(report(no_table()) + "; " + report(one_file("/../../etc/shadow"))));
  }
  SECTION("a table with partitions outside the image") {
    require_opaque(inspect_with(report(stream([](LayoutStreamWriter& out) {
      out.table("mbr", "");
      out.partition({.range = {1 * kMiB, 100 * kMiB}, .number = 1});
      out.end(true);
    }))));
  }
}

TEST_CASE("a missing helper leaves an opaque volume, and the warning names it") {
  const TempDir folder;
  make_sparse_file(folder / "image", 8 * kMiB);
  ::setenv("VMPACK_HELPER_DIR", folder.path().c_str(), 1);
  WarningKeeper keeper;
  const Layout layout = inspect_raw(folder / "image", {}, keeper);
  ::unsetenv("VMPACK_HELPER_DIR");
  // In a build tree or where vmpack is installed it is found all the same.
  if (!keeper.warnings.empty()) {
    CHECK(keeper.warnings.front().find("vmpack-inspect-helper") != std::string::npos);
    CHECK_FALSE(layout.volumes.front().inspected);
  }
}

TEST_CASE("a volume that ends its child does not take the next one with it") {
  const std::string script = "case $2 in image) " + report(table_of_two()) + "; exit 1 ;; volumes) " +
                             report(one_file("/survivor")) + " ;; esac";
  const Outcome outcome = inspect_with(script);
  CHECK(outcome.layout.table == "gpt");
  REQUIRE(outcome.layout.volumes.size() == 2);
  CHECK_FALSE(outcome.layout.volumes[0].inspected);
  CHECK(outcome.layout.volumes[0].warning.find("exit code 1") != std::string::npos);
  REQUIRE(outcome.layout.volumes[1].inspected);
  CHECK(outcome.layout.volumes[1].files.front().path == "/survivor");
  CHECK(outcome.warnings.size() == 1);
}

TEST_CASE("an image that cannot be read at all is an error") {
  class Unreadable final : public Source {
   public:
    std::uint64_t size() const override { return 1 * kMiB; }
    void read(std::uint64_t, ByteSpan) override { throw Error(ErrorCode::kIo, "cannot read it"); }
    std::vector<ByteRange> data_ranges(std::uint64_t, std::uint64_t) override { return {}; }
    const SourceFacts& facts() const override { return facts_; }
    SourceAttachment attachment() const override { return {}; }

   private:
    SourceFacts facts_;
  };
  Unreadable source;
  WarningKeeper keeper;
  CHECK_THROWS_AS(inspect(source, {}, keeper), Error);
}

}  // namespace vmpack::test
