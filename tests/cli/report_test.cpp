// SPDX-License-Identifier: Apache-2.0
// vmpack inspect --report: a page, in a real run, with the facts that --json tells.
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/units.hpp"
#include "tests/cli/program.hpp"
#include "tests/images/images.hpp"
#include "tests/support/files.hpp"
#include "tests/support/html.hpp"
#include "tests/support/random_bytes.hpp"

namespace vmpack::test {
namespace {

const std::string kHostileName = "<img src=x onerror=alert(1)>'\"&amp;\n\xff.txt";
const std::string kHostileShown = "/<img src=x onerror=alert(1)>'\"&amp;??.txt";

/// Three files, two of them equal, on ext4.
void make_image(const std::string& path) {
  const TempDir folder;
  std::filesystem::create_directories(folder / "tree/usr/lib");
  write_file(folder / "tree/usr/lib/big.so", random_bytes(1, 120'000));
  write_file(folder / "tree/usr/lib/copy.so", random_bytes(1, 120'000));
  write_file(folder.path() + "/tree/" + kHostileName, random_bytes(2, 130'000));
  make_file_system(path, folder / "tree", 16 * kMiB, {"-t", "ext4", "-b", "1024"});
  overwrite(path, 14 * kMiB, random_bytes(3, 64 * kKiB));  // residue
}

std::string text_of(const std::string& page_path) {
  const Bytes bytes = read_file(page_path);
  const auto page = parse_html(as_text(bytes));
  CHECK(std::ranges::none_of(page, [](const HtmlElement& element) {
    return element.name == "img" || element.name == "script" || element.name == "link" ||
           element.attributes.contains("src") || element.attributes.contains("href") ||
           element.attributes.contains("onerror");
  }));
  return page.front().text;
}

void require_text(const std::string& text, const std::string& what) {
  INFO(what << " in\n" << text);
  CHECK(text.find(what) != std::string::npos);
}

}  // namespace

TEST_CASE("the report tells what --json tells, and shows hostile names as they are") {
  const SampleRepository repository;
  const std::string image = repository / "image.raw";
  const std::string report = repository / "report.html";
  make_image(image);
  const OrderedJson facts = vmpack_json({"inspect", image, "--no-os", "--report", report});
  const std::string text = text_of(report);
  require_text(text, "image.raw");
  require_text(text, kHostileShown);
  CHECK(text.find("Compared with a repository") == std::string::npos);
  for (const auto& [name, statistics] : facts.at("classes").items()) {
    require_text(text, name);
    require_text(text, format_bytes(statistics.at("bytes").get<std::uint64_t>()));
  }
  CHECK(facts.at("classes").at("free").at("bytes") == 64 * kKiB);
  CHECK(facts.at("repeated").at("objects") >= 1);  // metadata may repeat as well
  CHECK(facts.at("repeated").at("bytes") >= 120'000);
  CHECK_FALSE(facts.contains("compared"));
  const OrderedJson& volume = facts.at("volumes")[0];
  CHECK(volume.at("largest_directories")[0] == OrderedJson{{"path", "/usr/lib"}, {"bytes", 240'000}});
  CHECK(volume.at("largest_files")[1] == OrderedJson{{"path", "/usr/lib/big.so"}, {"bytes", 120'000}});
  CHECK(volume.at("largest_files")[0].at("bytes") == 130'000);
}

TEST_CASE("compared with a repository, the new bytes are those that an ingest then adds") {
  const SampleRepository repository;
  const std::string image = repository / "image.raw";
  const std::string report = repository / "report.html";
  make_image(image);
  const std::vector<std::string> inspect{"inspect", image,    "--no-os",        "--report",
                                         report,    "--repo", repository.path()};
  const OrderedJson empty = vmpack_json(inspect).at("compared");
  CHECK(empty.at("known").at("bytes") == 0);
  const OrderedJson packed = repository.ingest(image, "image:1");
  CHECK(empty.at("new") ==
        OrderedJson{{"objects", packed.at("objects_new")}, {"bytes", packed.at("bytes_new")}});
  overwrite(image, places_of(image, {"/usr/lib/copy.so"}).front().blocks.front() * 1024,
            random_bytes(7, 1024));
  const OrderedJson facts = vmpack_json(inspect);
  const OrderedJson& compared = facts.at("compared");
  CHECK(compared.at("repository") == repository.path());
  CHECK(compared.at("new") == OrderedJson{{"objects", 1}, {"bytes", 120'000}});
  REQUIRE(compared.at("largest_new_files").size() == 1);
  CHECK(compared.at("largest_new_files")[0] ==
        OrderedJson{{"volume", 0}, {"path", "/usr/lib/copy.so"}, {"bytes", 120'000}});
  const std::string text = text_of(report);
  require_text(text, "Compared with a repository");
  require_text(text, "new: 117.2 KiB");
  const std::string plain = vmpack_done({"inspect", image, "--no-os", "--repo", repository.path()});
  require_text(plain, "new are 117.2 KiB in 1 objects");
}

TEST_CASE("a report replaces an older one whole, and nothing else") {
  const SampleRepository repository;
  const std::string image = repository / "image.raw";
  make_mixed_disk(image, kMiB, 1);
  const std::string report = repository / "report.html";
  write_file(report, "older");
  const auto inspect = [&](const std::string& what, const std::string& to) {
    return vmpack({"inspect", what, "--no-os", "--report", to});
  };
  require_one_line(inspect(repository / "missing.raw", report), 1, {"missing.raw"});
  CHECK(as_text(read_file(report)) == "older");
  require_one_line(inspect(image, image), 2, {"would replace the image"});
  require_one_line(inspect(image, repository.folder()), 2, {"no regular file"});
  require_one_line(inspect(image, repository / "no/such/folder.html"), 1, {"no/such/folder.html"});
  CHECK(vmpack_done({"inspect", image, "--no-os", "--quiet", "--report", report}).empty());
  require_text(text_of(report), "image.raw");
  // Nothing half written stays behind.
  CHECK(std::distance(std::filesystem::directory_iterator(repository.folder()), {}) == 3);
}

}  // namespace vmpack::test
