// SPDX-License-Identifier: Apache-2.0
// The same images give the same repository, byte for byte, on any number of threads.
#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

/// What the images alone decide: not the repository's id, times, nor who asked.
std::vector<std::pair<std::string, Bytes>> decided_by_images(const SampleRepository& repository) {
  auto contents = repository.contents();
  std::erase_if(contents, [](const auto& file) {
    return file.first == "vmpack.json" || file.first.starts_with("refs/") || file.first.starts_with("notes/");
  });
  return contents;
}

}  // namespace

TEST_CASE("one thread and all threads pack the same bytes") {
  const TempDir folder;
  // Several windows of the pipeline each, and the second shares half of the first.
  const std::string first = folder / "first";
  make_sample_image(first, 96 * kMiB, 1);
  overwrite(first, 40 * kMiB, random_bytes(1, 24 * kMiB));
  overwrite(first, 70 * kMiB, text_bytes(2, 16 * kMiB));
  const std::string second = folder / "second";
  make_sample_image(second, 96 * kMiB, 2);
  overwrite(second, 30 * kMiB, random_bytes(1, 24 * kMiB));
  overwrite(second, 60 * kMiB, text_bytes(3, 16 * kMiB));

  const SampleRepository all;
  const SampleRepository one;
  for (const SampleRepository* repository : {&all, &one}) use_small_packs(*repository);
  for (const std::string& image : {first, second}) {
    const std::string reference = image == first ? "a:1" : "a:2";
    all.ingest(image, reference);
    run_tool({"taskset", "-c", "0", program("VMPACK"), "ingest", image, reference, "--no-os", "--repo",
              one.path()});
  }
  const auto of_all = decided_by_images(all);
  const auto of_one = decided_by_images(one);
  REQUIRE(of_all.size() == of_one.size());
  for (std::size_t i = 0; i < of_all.size(); ++i) {
    INFO(of_all[i].first);
    CHECK(of_all[i].first == of_one[i].first);
    CHECK((of_all[i].second == of_one[i].second));
  }
  for (const std::string folder_name : {"packs/", "index/", "maps/", "places/", "files/", "snapshots/"}) {
    INFO(folder_name);
    CHECK(std::ranges::any_of(of_all, [&](const auto& file) { return file.first.starts_with(folder_name); }));
  }
}

}  // namespace vmpack::test
