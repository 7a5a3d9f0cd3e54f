// SPDX-License-Identifier: Apache-2.0
#include "server/daemon/log.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <spdlog/details/log_msg.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/json.hpp"
#include "server/record.hpp"

namespace vmpack {
namespace {

/// More kinds than that at once are one kind: memory is bounded.
constexpr std::size_t kKindsMax = 64;

std::string_view as_view(spdlog::string_view_t text) { return {text.data(), text.size()}; }

std::string_view sentence_of(std::string_view payload) {
  return payload.substr(0, payload.find(kFieldSeparator));
}

bool is_record(std::string_view payload) { return payload.find(kFieldSeparator) != std::string_view::npos; }

/// sd-daemon(3), which takes them from syslog.
int priority(spdlog::level::level_enum level) {
  switch (level) {
    case spdlog::level::critical:
      return 2;
    case spdlog::level::err:
      return 3;
    case spdlog::level::warn:
      return 4;
    case spdlog::level::info:
      return 6;
    default:
      return 7;
  }
}

/// "2026-11-25 20:58:04.123", in local time for people, in UTC and as RFC 3339 for programs.
std::string time_text(std::chrono::system_clock::time_point time, LogFormat format) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(time - seconds).count();
  const auto calendar = std::chrono::system_clock::to_time_t(seconds);
  if (format == LogFormat::kJson)
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(calendar), milliseconds);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03}", fmt::localtime(calendar), milliseconds);
}

std::string_view take_field(std::string_view& fields) {
  const auto end = std::min(fields.find(kFieldSeparator), fields.size());
  const auto field = fields.substr(0, end);
  fields.remove_prefix(std::min(end + 1, fields.size()));
  return field;
}

/// Adds name and value, name and value.
void add_fields(OrderedJson& json, std::string_view fields) {
  while (!fields.empty()) {
    const std::string name(take_field(fields));
    const auto value = take_field(fields);
    if (value.starts_with('"')) {
      json[name] = std::string(value.substr(1));
    } else {
      json[name] = OrderedJson::parse(value, nullptr, false);
    }
  }
}

std::string json_line(const spdlog::details::log_msg& message) {
  const auto payload = as_view(message.payload);
  const auto sentence = sentence_of(payload);
  OrderedJson json;
  json["time"] = time_text(message.time, LogFormat::kJson);
  json["level"] = std::string(as_view(spdlog::level::to_string_view(message.level)));
  json["message"] = printable(sentence);
  if (sentence.size() < payload.size()) add_fields(json, payload.substr(sentence.size() + 1));
  return dump_json_line(json);
}

/// stderr is the journal's: systemd says which file that is.
bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat facts{};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &facts) != 0) return false;
  return fmt::format("{}:{}", facts.st_dev, facts.st_ino) == stream;
}

/// The message without who it is about ("127.0.0.1:40312: "), numbers and quoted names.
std::string kind_of(std::string_view sentence) {
  if (const auto colon = sentence.find(": "); colon != std::string_view::npos)
    sentence.remove_prefix(colon + 2);
  std::string kind;
  bool quoted = false;
  for (const char c : sentence) {
    if (c == '"') quoted = !quoted;
    if (!quoted && (c < '0' || c > '9')) kind += c;
  }
  return kind;
}

}  // namespace

void LogFormatter::format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& into) {
  const auto out = std::back_inserter(into);
  if (journal_) fmt::format_to(out, "<{}>", priority(message.level));
  if (format_ == LogFormat::kJson) {
    fmt::format_to(out, "{}\n", json_line(message));
    return;
  }
  const auto sentence = printable(sentence_of(as_view(message.payload)));
  const auto level = as_view(spdlog::level::to_string_view(message.level));
  if (journal_) {
    fmt::format_to(out, "{}\n", sentence);
  } else {
    fmt::format_to(out, "{} {}: {}\n", time_text(message.time, format_), level, sentence);
  }
}

std::unique_ptr<spdlog::formatter> LogFormatter::clone() const {
  return std::make_unique<LogFormatter>(format_, journal_);
}

void ThrottledSink::sink_it_(const spdlog::details::log_msg& message) {
  const auto payload = as_view(message.payload);
  if (is_record(payload) || message.level < spdlog::level::info) {
    behind_->log(message);
    return;
  }
  settle(message.time);
  auto name = kind_of(payload);
  if (kinds_.size() >= kKindsMax && !kinds_.contains(name)) name.clear();
  Kind& kind = kinds_[name];
  if (kind.count == 0) kind.began = message.time;
  if (++kind.count <= kAtOnce) {
    behind_->log(message);
    return;
  }
  kind.last = std::string(payload);
  kind.level = message.level;
}

ThrottledSink::~ThrottledSink() {
  for (const auto& [name, kind] : kinds_) tell(kind, std::chrono::system_clock::now());
}

void ThrottledSink::tell(const Kind& kind, std::chrono::system_clock::time_point now) {
  if (kind.count <= kAtOnce) return;
  const auto text =
      fmt::format("{} more like this were not shown: {}", format_count(kind.count - kAtOnce), kind.last);
  behind_->log(spdlog::details::log_msg(now, {}, {}, kind.level, text));
}

void ThrottledSink::settle(std::chrono::system_clock::time_point now) {
  std::erase_if(kinds_, [&](const auto& entry) {
    const bool over = now - entry.second.began >= kWindow;
    if (over) tell(entry.second, now);
    return over;
  });
}

void ThrottledSink::flush_() {
  settle(std::chrono::system_clock::now());
  behind_->flush();
}

void ThrottledSink::set_formatter_(std::unique_ptr<spdlog::formatter> formatter) {
  behind_->set_formatter(std::move(formatter));
}

spdlog::logger make_log(LogFormat format, const std::string& level) {
  auto sink = std::make_shared<ThrottledSink>(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  spdlog::logger log("vmserve", std::move(sink));
  log.set_formatter(std::make_unique<LogFormatter>(format, stderr_is_journal()));
  log.set_level(spdlog::level::from_str(level));
  return log;
}

}  // namespace vmpack
