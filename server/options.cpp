// SPDX-License-Identifier: Apache-2.0
#include "server/options.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/base/parse_size.hpp"
#include "libvmpack/read/frame_cache.hpp"

namespace vmpack {
namespace {

constexpr int kUsageError = 2;
constexpr std::string_view kNbdPort = "10809";
constexpr std::string_view kHttpPort = "8080";
constexpr const char* kNbdDefault = "127.0.0.1:10809";
constexpr unsigned kThreadsMax = 256;

/// What the command line gave, before it is looked at.
struct Texts {
  std::vector<std::string> nbd;
  std::vector<std::string> http;
  std::string cache = "512M";
};

unsigned default_threads() { return std::clamp(std::thread::hardware_concurrency(), 1U, kThreadsMax); }

void add_options(CLI::App& app, Settings& settings, Texts& texts) {
  app.set_version_flag("--version", std::string("vmserve ") + VMPACK_VERSION);
  app.add_option("--repo", settings.repository, "Repository: a folder, or s3://BUCKET/PREFIX")
      ->envname("VMPACK_REPO")
      ->required();
  app.add_option(
         "--nbd", texts.nbd,
         fmt::format("Serve NBD on ADDRESS:PORT or unix:PATH; may be repeated (default: {})", kNbdDefault))
      ->take_all()
      ->type_name("ADDR");
  app.add_option("--http", texts.http,
                 "Answer HTTP on ADDRESS:PORT or unix:PATH: /healthz, and /in-use for 'vmpack gc --ask'; may "
                 "be repeated")
      ->take_all()
      ->type_name("ADDR");
  app.add_option("--cache", texts.cache, "Memory for decoded frames, as in 512M or 2G")
      ->type_name("SIZE")
      ->capture_default_str();
  app.add_option("--threads", settings.threads, "Network threads")
      ->check(CLI::Range(1U, kThreadsMax))
      ->default_val(default_threads());
  app.add_option("--log-level", settings.log_level, "How much to say on stderr")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->default_val("info");
  app.add_option("--ready-file", settings.ready_file,
                 "Write the URIs that are served to this file, one a line, once clients may connect")
      ->type_name("FILE");
}

void read_texts(Settings& settings, const Texts& texts) {
  settings.cache.memory_bytes = parse_size(texts.cache);
  if (settings.cache.memory_bytes < kFrameCacheBytesMin) {
    throw Error(ErrorCode::kInvalid, "--cache must be at least 64M");
  }
  for (const auto& text : texts.nbd) settings.nbd.push_back(parse_listen_address(text, kNbdPort));
  for (const auto& text : texts.http) settings.http.push_back(parse_listen_address(text, kHttpPort));
  if (settings.nbd.empty()) settings.nbd.push_back(parse_listen_address(kNbdDefault, kNbdPort));
}

}  // namespace

ParsedOptions parse_options(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  Settings settings;
  Texts texts;
  CLI::App app("Serves the images of a vmpack repository over the network, read-only.", "vmserve");
  add_options(app, settings, texts);
  try {
    app.parse(argc, argv);
    read_texts(settings, texts);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error, out, err);
      return {std::nullopt, 0};
    }
    print_error(err, error.what(), "'vmserve --help' shows how");
    return {std::nullopt, kUsageError};
  } catch (const Error& error) {
    print_error(err, error.what(), error.hint());
    return {std::nullopt, kUsageError};
  }
  return {std::move(settings), 0};
}

void print_error(std::ostream& err, std::string_view message, std::string_view hint) {
  err << "vmserve: " << printable(message);
  if (!hint.empty()) err << "; " << printable(hint);
  err << '\n';
}

}  // namespace vmpack
