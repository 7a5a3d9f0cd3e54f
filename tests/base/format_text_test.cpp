// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/base/format_text.hpp"

#include <catch2/catch.hpp>

#include "libvmpack/base/units.hpp"

using namespace vmpack;

TEST_CASE("bytes are shown in binary units with one decimal") {
  CHECK(format_bytes(0) == "0 B");
  CHECK(format_bytes(512) == "512 B");
  CHECK(format_bytes(1023) == "1023 B");
  CHECK(format_bytes(kKiB) == "1.0 KiB");
  CHECK(format_bytes(1536) == "1.5 KiB");
  CHECK(format_bytes(2 * kGiB) == "2.0 GiB");
  CHECK(format_bytes(kTiB) == "1.0 TiB");
  CHECK(format_bytes(UINT64_MAX) == "16.0 EiB");
}

TEST_CASE("a value that would round to 1024 moves to the next unit") {
  CHECK(format_bytes(kMiB - 1) == "1.0 MiB");
  CHECK(format_bytes(kMiB - 51) == "1.0 MiB");
}

TEST_CASE("an age is told in its largest unit") {
  CHECK(format_age(-5) == "0 s");
  CHECK(format_age(59) == "59 s");
  CHECK(format_age(60) == "1 min");
  CHECK(format_age(3599) == "59 min");
  CHECK(format_age(3600) == "1 h");
  CHECK(format_age(86'400) == "1 day");
  CHECK(format_age(40 * 86'400) == "40 days");
}

TEST_CASE("counts are grouped by thousands") {
  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(1000) == "1,000");
  CHECK(format_count(62031) == "62,031");
  CHECK(format_count(UINT64_MAX) == "18,446,744,073,709,551,615");
}

TEST_CASE("times are UTC") {
  CHECK(format_time(0) == "1970-01-01T00:00:00Z");
  CHECK(format_time(1795514400) == "2026-11-24T10:00:00Z");
  CHECK(format_time(-1) == "1969-12-31T23:59:59Z");
  CHECK(format_time(INT64_MAX) == "unknown");
}

TEST_CASE("good text is shown as it is") {
  CHECK(printable("") == "");
  CHECK(printable("a file.txt") == "a file.txt");
  CHECK(printable("Größe 日本 🎉") == "Größe 日本 🎉");
}

TEST_CASE("nothing that drives a terminal comes through") {
  CHECK(printable("\x1b[2J") == "?[2J");
  CHECK(printable("a\nb\rc\td") == "a?b?c?d");
  CHECK(printable(std::string_view("\0", 1)) == "?");
  CHECK(printable("\x7f") == "?");
  CHECK(printable("\xc2\x9b"
                  "31m") == "??31m");
}

TEST_CASE("invalid UTF-8 is replaced") {
  CHECK(printable("\xff\xfe") == "??");
  CHECK(printable("a\xc3") == "a?");
  CHECK(printable("\x80") == "?");
  CHECK(printable("\xc0\xaf") == "??");
  CHECK(printable("\xe2\x82") == "??");
  CHECK(printable("\xf5\x80\x80\x80") == "????");
}

TEST_CASE("overlong forms, surrogates and values over U+10FFFF are invalid too") {
  CHECK(printable("\xe0\x80\xaf") == "???");
  CHECK(printable("\xed\xa0\x80") == "???");
  CHECK(printable("\xf0\x80\x80\xaf") == "????");
  CHECK(printable("\xf4\x90\x80\x80") == "????");
}

TEST_CASE("texts of several lines keep their line ends and tabs, and nothing else that drives a terminal") {
  CHECK(printable_text("") == "");
  CHECK(printable_text("one\n\ttwo\n") == "one\n\ttwo\n");
  CHECK(printable_text("a\x1b[2Jb\r\nc\xff") == "a?[2Jb?\nc?");
}
