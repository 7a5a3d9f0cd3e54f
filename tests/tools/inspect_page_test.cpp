// SPDX-License-Identifier: Apache-2.0
// The page of `vmpack inspect --report`: its facts, and that names from hostile images stay names.
#include "tools/report/inspect_page.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"
#include "tests/support/html.hpp"
#include "tools/report/html.hpp"

namespace vmpack::cli {
namespace {

using test::HtmlElement;

/// What only a page could mean that loads, runs or sends something.
void require_harmless(const std::vector<HtmlElement>& page) {
  const std::vector<std::string> allowed = {
      "html", "head",  "meta",  "title", "style", "body", "header", "main", "footer", "section", "h1",
      "h2",   "h3",    "p",     "dl",    "dt",    "dd",   "div",    "span", "i",      "ul",      "ol",
      "li",   "table", "thead", "tbody", "tfoot", "tr",   "th",     "td",   "small",  "code",    "bdi"};
  const std::vector<std::string> attributes = {"lang",       "charset",    "name",        "content",
                                               "http-equiv", "class",      "style",       "title",
                                               "role",       "aria-label", "aria-hidden", "scope"};
  for (const HtmlElement& element : page) {
    INFO(element.name);
    CHECK(std::ranges::find(allowed, element.name) != allowed.end());
    for (const auto& [name, value] : element.attributes) {
      INFO(name << "=" << value);
      CHECK(std::ranges::find(attributes, name) != attributes.end());
      if (name == "style") CHECK(value.find("url") == std::string::npos);
    }
  }
}

bool says(const std::vector<HtmlElement>& page, const std::string& text) {
  return page.front().text.find(text) != std::string::npos;
}

std::size_t count_of(const std::vector<HtmlElement>& page, const std::string& css_class) {
  return static_cast<std::size_t>(std::ranges::count_if(page, [&](const HtmlElement& element) {
    const auto found = element.attributes.find("class");
    return found != element.attributes.end() && found->second == css_class;
  }));
}

/// A disk of 64 MiB with one volume, and everything an attacker could name.
ImageFacts hostile_facts(const std::string& name) {
  ImageFacts facts;
  facts.source = {name, "/images/" + name, {}};
  facts.image_bytes = 64 * kMiB;
  facts.repository = "/repositories/" + name;
  facts.layout.image_bytes = facts.image_bytes;
  facts.layout.table = name;
  Volume volume;
  volume.range = {kMiB, 62 * kMiB};
  volume.number = 1;
  volume.inspected = true;
  volume.dirty = true;
  volume.type = volume.label = volume.uuid = volume.warning = name;
  facts.layout.volumes.push_back(volume);
  facts.layout.volumes.push_back({.range = {UINT64_MAX - 100, UINT64_MAX}, .number = 2, .type = "xfs"});
  facts.survey.cell_bytes = 64 * kKiB;
  facts.survey.cells.resize(1024);
  facts.survey.cells[16][static_cast<std::size_t>(ObjectClass::kText)] = 64 * kKiB;
  facts.survey.cells[17][static_cast<std::size_t>(ObjectClass::kFree)] = 4 * kKiB;
  facts.survey.classes[static_cast<std::size_t>(ObjectClass::kText)] = {
      {2, 96 * kKiB}, {1, 32 * kKiB}, {}, {1, 64 * kKiB}};
  facts.survey.classes[static_cast<std::size_t>(ObjectClass::kFree)] = {{1, 4 * kKiB}, {}, {1, 4 * kKiB}, {}};
  const std::vector<SizedPath> paths = {{"/" + name, 64 * kKiB}};
  facts.largest = {{paths, paths, paths}, {}};
  OperatingSystem system;
  system.product_name = system.architecture = system.hostname = name;
  facts.os.systems.push_back(system);
  return facts;
}

}  // namespace

TEST_CASE("names from images are text, whatever they look like") {
  for (const std::string name :
       {"plain", "<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "' onmouseover='alert(1)",
        "</style></title><h1>", "&lt;b&gt; &amp; &#39;", "a{b}%s", "--><!-- ]]>",
        "\xe2\x80\xae"
        "gpj.exe"}) {
    INFO(name);
    const std::vector<HtmlElement> page = test::parse_html(inspect_page(hostile_facts(name)));
    require_harmless(page);
    CHECK(says(page, name));
    CHECK(says(page, "/" + name));
    CHECK(std::ranges::count(page, "h1", &HtmlElement::name) == 1);
  }
  CHECK(html_text("a\n\xff\x1b[31m<") == "a???[31m&lt;");
}

TEST_CASE("the page tells what the survey found") {
  const std::vector<HtmlElement> page = test::parse_html(inspect_page(hostile_facts("disk.raw")));
  for (const std::string text :
       {"disk.raw: what is on this image", "64.0 MiB disk", "100.0 KiB", "4.0 KiB", "0.2 % of the disk",
        "--discard-free", "not cleanly unmounted", "1 disk.raw"}) {
    INFO(text);
    CHECK(says(page, text));
  }
  CHECK(count_of(page, "text") == 1);  // cells
  CHECK(count_of(page, "free few") == 1);
  CHECK(count_of(page, "map") == 1);
  CHECK(count_of(page, "number") > 0);
  // stored already, repeats of what is new, new
  CHECK(count_of(page, "known") == 1);
  CHECK(count_of(page, "repeat") == 1);
  CHECK(count_of(page, "fresh") == 1);
}

TEST_CASE("an image without anything makes a page as well") {
  ImageFacts facts;
  facts.source = {"raw", "empty", {}};
  require_harmless(test::parse_html(inspect_page(facts)));
  CHECK(percent(1, 0) == "0.0");
  CHECK(percent(1, 8) == "12.5");
}

}  // namespace vmpack::cli
