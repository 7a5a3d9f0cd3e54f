// SPDX-License-Identifier: Apache-2.0
#include "server/daemon/log.hpp"

#include <fmt/format.h>
#include <spdlog/sinks/ostream_sink.h>

#include <catch2/catch.hpp>
#include <sstream>

#include "libvmpack/base/json.hpp"
#include "server/record.hpp"

namespace vmpack {
namespace {

struct LogUnderTest {
  explicit LogUnderTest(LogFormat format, bool journal = false) {
    log.set_formatter(std::make_unique<LogFormatter>(format, journal));
  }
  std::ostringstream text;
  std::shared_ptr<ThrottledSink> sink =
      std::make_shared<ThrottledSink>(std::make_shared<spdlog::sinks::ostream_sink_mt>(text));
  spdlog::logger log{"test", sink};
};

TEST_CASE("a line for people is a sentence, and JSON has its facts as members") {
  const Record record = [] {
    Record made("closed web:v1");
    made.add("export", "web:\"v1\"\n").add("requests", 12).add("lost", false);
    return made;
  }();
  LogUnderTest text(LogFormat::kText);
  text.log.info("{}", record.text());
  CHECK(text.text.str().ends_with(" info: closed web:v1\n"));
  LogUnderTest json(LogFormat::kJson);
  json.log.info("{}", record.text());
  const auto line = OrderedJson::parse(json.text.str());
  CHECK(line.at("message") == "closed web:v1");
  CHECK(line.at("level") == "info");
  CHECK(line.at("requests") == 12);
  CHECK(line.at("lost") == false);
  CHECK(line.at("export").get<std::string>().starts_with("web:\"v1\""));
  CHECK(line.at("time").get<std::string>().ends_with("Z"));
}

TEST_CASE("whatever a client calls itself, a message stays one line") {
  for (const auto format : {LogFormat::kText, LogFormat::kJson}) {
    LogUnderTest log(format);
    log.log.warn("{}", "evil\nname\x1b[31m\r\xff");
    const std::string text = log.text.str();
    CHECK(std::ranges::count(text, '\n') == 1);
    CHECK(text.find('\x1b') == std::string::npos);
  }
}

TEST_CASE("the journal gets a priority instead of time and level") {
  LogUnderTest log(LogFormat::kText, true);
  log.log.error("broken");
  CHECK(log.text.str() == "<3>broken\n");
}

TEST_CASE("a flood of one kind is counted instead of shown, and holds back nothing else") {
  LogUnderTest log(LogFormat::kText);
  for (int i = 0; i < 1000; ++i) log.log.warn("10.0.0.{}: refused, {} connections are open", i, i);
  log.log.error("the disk is on fire");
  const std::string text = log.text.str();
  CHECK(std::ranges::count(text, '\n') == static_cast<int>(ThrottledSink::kAtOnce) + 1);
  CHECK(text.find("fire") != std::string::npos);
}

TEST_CASE("records are never held back") {
  LogUnderTest log(LogFormat::kText);
  for (int i = 0; i < 100; ++i) log.log.info("{}", Record("closed").add("n", i).text());
  CHECK(std::ranges::count(log.text.str(), '\n') == 100);
}

TEST_CASE("kinds beyond counting share one") {
  LogUnderTest log(LogFormat::kText);
  for (char a = 'a'; a <= 'z'; ++a) {
    for (char b = 'a'; b <= 'z'; ++b) log.log.warn("{}{}", a, b);
  }
  CHECK(std::ranges::count(log.text.str(), '\n') < 100);
}

}  // namespace
}  // namespace vmpack
