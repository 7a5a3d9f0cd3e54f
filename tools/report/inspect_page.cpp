// SPDX-License-Identifier: Apache-2.0
#include "tools/report/inspect_page.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <string_view>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/ingest/ingest.hpp"
#include "tools/report/html.hpp"
#include "tools/report/style.hpp"

namespace vmpack::cli {
namespace {

std::string_view meaning_of(ObjectClass object_class) {
  switch (object_class) {
    case ObjectClass::kOpaque:
      return "in no file system that could be read";
    case ObjectClass::kBoot:
      return "kernels, initial RAM disks, boot loaders";
    case ObjectClass::kFsMetadata:
      return "what file systems store about their files";
    case ObjectClass::kText:
      return "scripts, settings, documentation";
    case ObjectClass::kExecutable:
      return "programs and libraries";
    case ObjectClass::kCompressed:
      return "archives, pictures, packages";
    case ObjectClass::kDatabase:
      return "files of databases";
    case ObjectClass::kSwap:
      return "contents of swap space";
    case ObjectClass::kFree:
      return "residue: what deleted files left in free blocks";
    case ObjectClass::kData:
      return "files of no other class";
    case ObjectClass::kMapNode:
    case ObjectClass::kFileTable:
      break;  // of repositories, never of images
  }
  return {};
}

const ClassSurvey& of(const ImageFacts& facts, ObjectClass object_class) {
  return facts.survey.classes[static_cast<std::size_t>(object_class)];
}

/// Classes that the image has, the largest first.
std::vector<ObjectClass> present_classes(const ImageFacts& facts) {
  std::vector<ObjectClass> present;
  for (std::size_t i = 0; i < kObjectClassCount; ++i) {
    if (facts.survey.classes[i].all.bytes > 0) present.push_back(static_cast<ObjectClass>(i));
  }
  std::ranges::stable_sort(present, std::ranges::greater{},
                           [&](ObjectClass object_class) { return of(facts, object_class).all.bytes; });
  return present;
}

std::string volume_name(const Volume& volume) {
  const std::string type = volume.type.empty() ? "unknown" : html_text(volume.type);
  if (!volume.name.empty()) return fmt::format("{} {}", html_text(volume.name), type);
  return volume.number == 0 ? type : fmt::format("{} {}", volume.number, type);
}

std::string bar(std::uint64_t part, std::uint64_t whole, std::string_view css_class = {}) {
  return fmt::format(R"(<span class="bar {}"><i style="width:{}%"></i></span>)", css_class,
                     percent(part, whole));
}

std::string head(const ImageFacts& facts, std::string_view name) {
  std::string subtitle =
      fmt::format("{} disk ({}), {}", format_bytes(facts.image_bytes), html_text(facts.source.format),
                  facts.layout.table.empty() ? "no partition table" : html_text(facts.layout.table));
  for (const OperatingSystem& system : facts.os.systems) {
    subtitle +=
        fmt::format(" · {} ({}), {} packages",
                    html_text(system.product_name.empty() ? system.distribution : system.product_name),
                    html_text(system.architecture), format_count(system.packages.size()));
  }
  return fmt::format(R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="generator" content="vmpack {}">
<title>{}: what is on this image</title>
<style>{}</style>
</head>
<body>
<header>
<h1><bdi>{}</bdi></h1>
<p class="soft">{}</p>
</header>
<main>
)",
                     VMPACK_VERSION, name, kReportStyle, name, subtitle);
}

std::string figure(std::string_view name, std::string_view value, std::string_view of) {
  return fmt::format("<div><dt>{}</dt><dd class=\"figure\">{}</dd><dd class=\"of\">{}</dd></div>\n", name,
                     value, of);
}

std::string figures(const ImageFacts& facts) {
  const ClassSurvey sum = total(facts.survey);
  const std::uint64_t data = sum.all.bytes;
  const std::uint64_t residue = of(facts, ObjectClass::kFree).all.bytes;
  std::uint64_t files = 0;
  for (const Volume& volume : facts.layout.volumes) files += volume.files.size();
  std::string html = "<dl class=\"figures\">\n";
  html +=
      figure("Data", format_bytes(data), fmt::format("{} % of the disk", percent(data, facts.image_bytes)));
  html += figure(
      "Files", format_count(files),
      fmt::format("on {} of {} volumes", std::ranges::count(facts.layout.volumes, true, &Volume::inspected),
                  facts.layout.volumes.size()));
  html += figure("Residue", format_bytes(residue), fmt::format("{} % of the data", percent(residue, data)));
  if (facts.repository.empty()) {
    html += figure("Repeats", format_bytes(sum.repeated.bytes),
                   fmt::format("{} % of the data", percent(sum.repeated.bytes, data)));
  } else {
    html += figure("New", format_bytes(sum.fresh.bytes),
                   fmt::format("{} % of the data", percent(sum.fresh.bytes, data)));
  }
  return html + "</dl>\n";
}

/// A piece of the strip that shows where volumes lie.
std::string strip_piece(std::uint64_t bytes, std::uint64_t image_bytes, std::string_view css_class,
                        std::string_view text) {
  const bool thin = bytes < image_bytes / 24;
  return fmt::format(R"(<span class="{}{}" style="flex:{} 1 0" title="{}, {}">{}</span>)", css_class,
                     thin ? " thin" : "", percent(bytes, image_bytes), text, format_bytes(bytes),
                     thin ? std::string_view{} : text);
}

/// Volumes that overlap or run behind the end, as hostile tables have them, are cut to what is left.
std::string strip(const ImageFacts& facts) {
  std::string html = "<div class=\"strip\" aria-hidden=\"true\">";
  std::uint64_t at = 0;
  const auto add = [&](std::uint64_t end, std::string_view css_class, std::string_view text) {
    if (end <= at) return;
    html += strip_piece(end - at, facts.image_bytes, css_class, text);
    at = end;
  };
  for (const Volume& volume : facts.layout.volumes) {
    const std::uint64_t start = std::min(volume.range.offset, facts.image_bytes);
    add(start, "between", "no volume");
    add(start + std::min(volume.range.length, facts.image_bytes - start), "volume", volume_name(volume));
  }
  add(facts.image_bytes, "between", "no volume");
  return html + "</div>\n";
}

std::string cell(const Survey& survey, std::size_t number) {
  const BytesByClass& bytes = survey.cells[number];
  const std::uint64_t sum = std::accumulate(bytes.begin(), bytes.end(), std::uint64_t{0});
  const std::string at = format_bytes(number * survey.cell_bytes);
  if (sum == 0) return fmt::format("<i title=\"{}: zeros\"></i>", at);
  const auto most = std::ranges::max_element(bytes);
  const std::string_view name = to_string(static_cast<ObjectClass>(most - bytes.begin()));
  return fmt::format(R"(<i class="{}{}" title="{}: {} %, {} % {}"></i>)", name,
                     sum < survey.cell_bytes / 2 ? " few" : "", at, percent(sum, survey.cell_bytes),
                     percent(*most, sum), name);
}

std::string map_section(const ImageFacts& facts, const std::vector<ObjectClass>& present) {
  std::string html = fmt::format(
      "<section>\n<h2>Map of the disk</h2>\n"
      "<p class=\"soft\">From its start, row by row: each cell is {}, in the colour of what most of its data "
      "is; pale where less than half of it is data, grey where all is zero.</p>\n",
      format_bytes(facts.survey.cell_bytes));
  html += strip(facts);
  std::string spoken = "Map of the disk by class of data:";
  for (const ObjectClass object_class : present) {
    spoken +=
        fmt::format(" {} {},", to_string(object_class), format_bytes(of(facts, object_class).all.bytes));
  }
  spoken.back() = '.';
  html += fmt::format("<div class=\"map\" role=\"img\" aria-label=\"{}\">\n", spoken);
  for (std::size_t i = 0; i < facts.survey.cells.size(); ++i) html += cell(facts.survey, i) + "\n";
  html += "</div>\n<ul class=\"legend\">\n";
  for (const ObjectClass object_class : present) {
    html += fmt::format("<li><span class=\"key {0}\"></span>{0}{1}</li>\n", to_string(object_class),
                        object_class == ObjectClass::kFree ? " (residue)" : "");
  }
  return html + "<li><span class=\"key\"></span>zeros</li>\n</ul>\n</section>\n";
}

/// The last cells of a row of the table of classes, where the image was compared with a repository.
std::string compared_cells(const ClassSurvey& survey) {
  return fmt::format("<td class=\"number wide\">{}</td><td class=\"number\">{}</td>",
                     format_bytes(survey.known.bytes), format_bytes(survey.fresh.bytes));
}

std::string class_section(const ImageFacts& facts, const std::vector<ObjectClass>& present) {
  const bool compared = !facts.repository.empty();
  const ClassSurvey sum = total(facts.survey);
  std::string html =
      "<section>\n<h2>Data by class</h2>\n<table>\n<thead><tr><th scope=\"col\">Class</th>"
      "<th scope=\"col\" class=\"number wide\">Objects</th><th scope=\"col\" class=\"number\">Bytes</th>";
  html += compared ? "<th scope=\"col\" class=\"number wide\">Stored already</th>"
                     "<th scope=\"col\" class=\"number\">New</th>"
                   : "<th scope=\"col\" class=\"share\">Share</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (const ObjectClass object_class : present) {
    const ClassSurvey& survey = of(facts, object_class);
    html += fmt::format(
        "<tr><th scope=\"row\"><span class=\"key {0}\"></span>{0}<small>{1}</small></th>"
        "<td class=\"number wide\">{2}</td><td class=\"number\">{3}</td>",
        to_string(object_class), meaning_of(object_class), format_count(survey.all.objects),
        format_bytes(survey.all.bytes));
    html += compared
                ? compared_cells(survey)
                : fmt::format("<td class=\"share\">{} %{}</td>", percent(survey.all.bytes, sum.all.bytes),
                              bar(survey.all.bytes, sum.all.bytes, to_string(object_class)));
    html += "</tr>\n";
  }
  html += fmt::format(
      "</tbody>\n<tfoot><tr><th scope=\"row\">all</th><td class=\"number wide\">{}</td>"
      "<td class=\"number\">{}</td>{}</tr></tfoot>\n</table>\n",
      format_count(sum.all.objects), format_bytes(sum.all.bytes),
      compared ? compared_cells(sum) : std::string("<td></td>"));
  return html + fmt::format(
                    "<p class=\"soft\">{} of the data in {} objects repeat what the image has elsewhere: "
                    "packed, they take no room.</p>\n</section>\n",
                    format_bytes(sum.repeated.bytes), format_count(sum.repeated.objects));
}

std::string residue_section(const ImageFacts& facts) {
  const ClassSurvey& residue = of(facts, ObjectClass::kFree);
  if (residue.all.bytes == 0) return {};
  std::string html = fmt::format(
      "<section>\n<h2>Residue in free blocks</h2>\n<p>{} of the data ({} %) is what deleted files left "
      "behind, in blocks that the file system calls free.",
      format_bytes(residue.all.bytes), percent(residue.all.bytes, total(facts.survey).all.bytes));
  if (!facts.repository.empty()) {
    html += fmt::format(" {} of it would be new to the repository.", format_bytes(residue.fresh.bytes));
  }
  html +=
      "</p>\n<p><code>vmpack ingest --discard-free</code> leaves it out: it then reads back as zeros, and "
      "every file stays as it is. Or clean up in the build, before the image is closed: <code>fstrim</code> "
      "in a guest whose disk discards, <code>virt-sparsify --in-place</code> or <code>zerofree</code> on the "
      "image.</p>\n</section>\n";
  return html;
}

std::string path_list(const std::vector<SizedPath>& paths, std::string_view end) {
  std::string html = "<ol class=\"paths\">\n";
  for (const SizedPath& path : paths) {
    html += fmt::format("<li><code><bdi>{}{}</bdi></code> <span class=\"number\">{}</span>{}</li>\n",
                        html_text(path.path), end, format_bytes(path.bytes),
                        bar(path.bytes, paths.front().bytes));
  }
  return html + "</ol>\n";
}

std::string repository_section(const ImageFacts& facts) {
  if (facts.repository.empty()) return {};
  const ClassSurvey sum = total(facts.survey);
  const std::uint64_t data = sum.all.bytes;
  const std::uint64_t repeats = data - sum.known.bytes - sum.fresh.bytes;
  std::string html = fmt::format(
      "<section>\n<h2>Compared with a repository</h2>\n<p><code><bdi>{}</bdi></code> holds {} ({} %) of this "
      "image's data already. An ingest would add {}, before compression and before new versions are stored "
      "as what changed.</p>\n",
      html_text(facts.repository), format_bytes(sum.known.bytes), percent(sum.known.bytes, data),
      format_bytes(sum.fresh.bytes));
  struct Share {
    std::string_view css_class;
    std::string_view name;
    std::uint64_t bytes;
  };
  const auto shares = std::to_array<Share>({{"known", "stored already", sum.known.bytes},
                                            {"repeat", "repeats of what is new", repeats},
                                            {"fresh", "new", sum.fresh.bytes}});
  html += "<div class=\"parts\" aria-hidden=\"true\">";
  for (const Share& share : shares) {
    if (share.bytes > 0) {
      html += fmt::format(R"(<i class="{}" style="flex:{} 1 0"></i>)", share.css_class,
                          percent(share.bytes, data));
    }
  }
  html += "</div>\n<ul class=\"legend\">\n";
  for (const Share& share : shares) {
    html += fmt::format("<li><span class=\"key {}\"></span>{}: {} ({} %)</li>\n", share.css_class, share.name,
                        format_bytes(share.bytes), percent(share.bytes, data));
  }
  html += "</ul>\n";
  for (std::size_t i = 0; i < facts.largest.size(); ++i) {
    if (facts.largest[i].fresh_files.empty()) continue;
    html += fmt::format("<h3>Biggest new files on volume {}</h3>\n", volume_name(facts.layout.volumes[i]));
    html += path_list(facts.largest[i].fresh_files, "");
  }
  return html + "</section>\n";
}

std::string volumes_section(const ImageFacts& facts) {
  if (facts.layout.volumes.empty()) return {};
  std::string html =
      "<section>\n<h2>Volumes</h2>\n<div class=\"scroll\">\n<table>\n<thead><tr><th scope=\"col\">Volume</th>"
      "<th scope=\"col\" class=\"number wide\">At</th><th scope=\"col\" class=\"number\">Size</th>"
      "<th scope=\"col\" class=\"number\">Files</th><th scope=\"col\" "
      "class=\"number\">Free</th></tr></thead>\n"
      "<tbody>\n";
  std::string warnings;
  for (const Volume& volume : facts.layout.volumes) {
    const VolumeSummary summary = summarize(volume);
    const std::string label = volume.label.empty()
                                  ? std::string{}
                                  : fmt::format("<small><bdi>{}</bdi></small>", html_text(volume.label));
    html += fmt::format(
        "<tr><th scope=\"row\">{}{}</th><td class=\"number wide\">{}</td><td class=\"number\">{}</td>"
        "<td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
        volume_name(volume), label, format_bytes(summary.offset), format_bytes(summary.bytes),
        summary.inspected ? format_count(summary.file_count) : "–",
        summary.inspected ? format_bytes(summary.free_bytes) : "–");
    if (volume.dirty) {
      warnings +=
          fmt::format("<p class=\"note\">Volume {} was not cleanly unmounted.</p>\n", volume_name(volume));
    }
    if (!volume.warning.empty()) {
      warnings += fmt::format("<p class=\"note\">Volume {}: <bdi>{}</bdi></p>\n", volume_name(volume),
                              html_text(volume.warning));
    }
  }
  return html + "</tbody>\n</table>\n</div>\n" + warnings + "</section>\n";
}

std::string largest_sections(const ImageFacts& facts) {
  std::string html;
  for (std::size_t i = 0; i < facts.largest.size(); ++i) {
    const LargestPaths& largest = facts.largest[i];
    if (largest.files.empty()) continue;
    html += fmt::format("<section>\n<h2>What takes most on volume {}</h2>\n<div class=\"pair\">\n",
                        volume_name(facts.layout.volumes[i]));
    if (!largest.folders.empty()) {
      html +=
          "<div>\n<h3>Directories, with all below them</h3>\n" + path_list(largest.folders, "/") + "</div>\n";
    }
    html += "<div>\n<h3>Files</h3>\n" + path_list(largest.files, "") + "</div>\n</div>\n</section>\n";
  }
  return html;
}

}  // namespace

std::string inspect_page(const ImageFacts& facts) {
  const std::string& location = facts.source.location;
  const std::string name = html_text(std::string_view(location).substr(location.rfind('/') + 1));
  const std::vector<ObjectClass> present = present_classes(facts);
  return head(facts, name) + figures(facts) + map_section(facts, present) + class_section(facts, present) +
         repository_section(facts) + residue_section(facts) + volumes_section(facts) +
         largest_sections(facts) +
         fmt::format(
             "</main>\n<footer>Made by vmpack {} from <code><bdi>{}</bdi></code>. Bytes are before "
             "compression; zeros are left out.</footer>\n</body>\n</html>\n",
             VMPACK_VERSION, html_text(location));
}

}  // namespace vmpack::cli
