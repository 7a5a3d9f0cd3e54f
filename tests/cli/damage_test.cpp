// SPDX-License-Identifier: Apache-2.0
// One flipped byte, anywhere in any file of a repository: verify finds it and names the file, and restore
// gives either the right bytes or none.
#include <fcntl.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <set>

#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

constexpr std::uint64_t kSeed = 20'26;
constexpr std::uint64_t kPackHeadBytes = 16;
constexpr std::uint64_t kFrameHeadBytes = 16;
constexpr std::uint64_t kPackTrailerBytes = 112;
constexpr std::uint64_t kEnvelopeBytes = 64;

/// Two images in a repository of many small packs.
struct Sample {
  SampleRepository repository{memory_folder()};
  std::map<std::string, std::string> images;  // by reference
  std::string out_folder = repository / "out";

  Sample() {
    use_small_packs(repository);
    for (const std::uint64_t number : {1, 2}) {
      const std::string reference = fmt::format("image:{}", number);
      images[reference] = repository / fmt::format("image-{}", number);
      make_sample_image(images[reference], 8 * kMiB, number, {"-t", "ext4", "-O", "^has_journal"});
      repository.ingest(images[reference], reference);
    }
    repository.require_intact();
    std::filesystem::create_directory(out_folder);
  }

  /// verify tells damage, and of which file.
  void require_named(const std::string& key) const {
    const CommandResult verified = repository.verify();
    INFO(verified.out << verified.err);
    CHECK(verified.exit_code == 3);
    CHECK((verified.out + verified.err).find(key) != std::string::npos);
  }
  /// Each image comes back right or not at all. Returns how many did not.
  [[nodiscard]] int refused_restores() const {
    int refused = 0;
    for (const auto& [reference, image] : images) {
      const std::string out = out_folder + "/restored";
      const CommandResult restored =
          vmpack({"restore", reference, out, "--quiet", "--repo", repository.path()});
      INFO("restore: " << restored.err);
      if (restored.exit_code == 0) {
        CHECK(same_bytes(out, image));
        std::filesystem::remove(out);
      } else {
        CHECK(restored.exit_code == 1);
        CHECK(restored.err.starts_with("vmpack: "));
        ++refused;
      }
      CHECK(std::filesystem::is_empty(out_folder));
    }
    return refused;
  }
};

std::string kind_of(const std::string& key) { return key.substr(0, key.find('/')); }

class FlippedByte {
 public:
  FlippedByte(std::string path, std::uint64_t at, std::byte with)
      : path_(std::move(path)), at_(at), with_(with) {
    flip();
  }
  ~FlippedByte() { flip(); }
  FlippedByte(const FlippedByte&) = delete;
  FlippedByte& operator=(const FlippedByte&) = delete;

 private:
  void flip() const {
    const auto file = FileDescriptor::open(path_, O_RDWR);
    Bytes byte(1);
    read_at(file.get(), byte, at_, path_);
    byte[0] ^= with_;
    write_at(file.get(), byte, at_, path_);
  }

  std::string path_;
  std::uint64_t at_;
  std::byte with_;
};

/// Offsets in a file: `count` of them spread by chance over each of its parts.
std::set<std::uint64_t> places_to_flip(const std::string& key, const Bytes& content, Random& random) {
  std::set<std::uint64_t> offsets;
  const auto sample = [&](std::uint64_t from, std::uint64_t to, int count) {
    for (int i = 0; i < count && from < to; ++i) offsets.insert(from + random.below(to - from));
  };
  const std::uint64_t size = content.size();
  if (key.starts_with("packs/")) {
    const std::uint64_t trailer = size - kPackTrailerBytes;
    const auto tables = read_struct<std::uint64_t>(ByteView(content).subspan(trailer));
    sample(0, kPackHeadBytes, 3);
    sample(kPackHeadBytes, kPackHeadBytes + kFrameHeadBytes, 3);
    sample(kPackHeadBytes + kFrameHeadBytes, tables, 12);
    sample(tables, trailer, 6);
    sample(trailer, size, 4);
  } else if (key.ends_with(".idx") || key.ends_with(".map") || key.ends_with(".files") ||
             key.starts_with("places/")) {
    sample(0, kEnvelopeBytes, 6);
    sample(kEnvelopeBytes, size, 14);
    offsets.insert(size - 1);
  } else {
    sample(0, 30, 3);  // the checksum, where there is one
    sample(0, size, 9);
  }
  return offsets;
}

}  // namespace

TEST_CASE("one flipped byte in any file is found, named, and never restored") {
  const Sample sample;
  Random random(kSeed);
  std::map<std::string, int> flips;
  std::map<std::string, int> refused;
  const auto before = sample.repository.contents();
  for (const auto& [key, content] : before) {
    for (const std::uint64_t at : places_to_flip(key, content, random)) {
      INFO(key << " of " << content.size() << " bytes, at offset " << at);
      const FlippedByte flipped(sample.repository.path() + "/" + key, at,
                                static_cast<std::byte>(1 + random.below(255)));
      ++flips[kind_of(key)];
      sample.require_named(key);
      refused[kind_of(key)] += sample.refused_restores();
    }
  }
  REQUIRE((sample.repository.contents() == before));
  sample.repository.require_intact();

  int all = 0;
  for (const std::string kind :
       {"vmpack.json", "packs", "index", "maps", "places", "files", "snapshots", "notes", "refs"}) {
    INFO(kind);
    CHECK(flips[kind] >= 10);
    all += flips[kind];
  }
  CHECK(all >= 300);
  // What restoring needs is refused for at least the image that it belongs to.
  for (const std::string kind : {"vmpack.json", "packs", "maps", "snapshots", "refs"}) {
    INFO(kind);
    CHECK(refused[kind] > flips[kind] / 4);
  }
}

TEST_CASE("a file that is cut short, longer, empty or gone is found, named, and never restored") {
  const Sample sample;
  const auto before = sample.repository.contents();
  for (const auto& [key, content] : before) {
    const std::string path = sample.repository.path() + "/" + key;
    for (const std::uint64_t size :
         {std::uint64_t{0}, content.size() / 2, content.size() - 1, content.size() + 1}) {
      INFO(key << " of " << content.size() << " bytes, now " << size);
      std::filesystem::resize_file(path, size);
      sample.require_named(key);
      static_cast<void>(sample.refused_restores());
      write_file(path, content);
    }
    // Nothing names references and notes, and an index may be gone.
    const std::string kind = kind_of(key);
    if (kind == "refs" || kind == "notes" || kind == "index" || kind == "vmpack.json") continue;
    INFO(key << " is gone");
    std::filesystem::remove(path);
    sample.require_named(key);
    CHECK((sample.refused_restores() > 0 || kind == "files"));
    write_file(path, content);
  }
  REQUIRE((sample.repository.contents() == before));
  sample.repository.require_intact();
}

}  // namespace vmpack::test
