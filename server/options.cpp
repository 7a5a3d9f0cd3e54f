// SPDX-License-Identifier: Apache-2.0
#include "server/options.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "server/config/file.hpp"
#include "server/config/settings.hpp"
#include "server/policy.hpp"

namespace vmpack {
namespace {

constexpr int kUsageError = 2;

using config::GivenByName;
using config::Setting;
using config::Texts;

/// The command line before its values are looked at.
class CommandLine {
 public:
  CommandLine() {
    app_.set_version_flag("--version", std::string("vmserve ") + VMPACK_VERSION);
    app_.add_option("--config", file_, "Read settings from this file; flags win over it")->type_name("FILE");
    app_.add_flag("--check-config", check_, "Print what would be used, and exit");
    for (const Setting& setting : config::settings_table()) add(setting);
    app_.footer("Limits, rules of access and tokens are set in the file alone: docs/serving.md.");
  }

  /// Throws CLI::ParseError.
  void parse(int argc, const char* const* argv) { app_.parse(argc, argv); }

  [[nodiscard]] Settings settings() const {
    return config::make_settings(file_.empty() ? config::ConfigFile() : config::read_config_file(file_),
                                 flags());
  }
  [[nodiscard]] bool only_checks() const { return check_; }
  int exit(const CLI::ParseError& error, std::ostream& out, std::ostream& err) {
    return app_.exit(error, out, err);
  }

 private:
  void add(const Setting& setting) {
    const auto flag = fmt::format("--{}", setting.name);
    const std::string help(setting.help);
    CLI::Option* option = nullptr;
    if (std::holds_alternative<config::SwitchField>(setting.field)) {
      option = app_.add_flag(flag, help);
    } else if (std::holds_alternative<config::AddressesField>(setting.field)) {
      option = app_.add_option(flag, texts_[setting.name], help)->take_all();
    } else {
      option = app_.add_option(flag, text_[setting.name], help);
    }
    if (const Texts texts = config::texts_of(setting, defaults_);
        texts.size() == 1 && texts != Texts{"false"})
      option->default_str(texts.front());
    if (!setting.value_name.empty()) option->type_name(std::string(setting.value_name));
    options_[setting.name] = option;
  }

  [[nodiscard]] GivenByName flags() const {
    GivenByName given;
    for (const auto& [name, option] : options_) {
      if (option->count() > 0) given[std::string(name)] = {option->results(), fmt::format("--{}", name)};
    }
    return given;
  }

  const Settings defaults_ = config::default_settings();
  CLI::App app_{"Serves the images of a vmpack repository over the network, read-only.", "vmserve"};
  std::string file_;
  bool check_ = false;
  std::map<std::string_view, std::string> text_;
  std::map<std::string_view, Texts> texts_;
  std::map<std::string_view, CLI::Option*> options_;
};

}  // namespace

ParsedOptions parse_options(int argc, const char* const* argv, std::ostream& out, std::ostream& err) {
  CommandLine line;
  try {
    line.parse(argc, argv);
    Settings settings = line.settings();
    if (!line.only_checks()) return {std::move(settings), 0};
    static_cast<void>(make_policy(settings));  // what its files hold
    out << config::describe(settings);
    return {std::nullopt, 0};
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      line.exit(error, out, err);
      return {std::nullopt, 0};
    }
    print_error(err, error.what(), "'vmserve --help' shows how");
  } catch (const Error& error) {
    print_error(err, error.what(), error.hint());
  }
  return {std::nullopt, kUsageError};
}

Settings reread_options(int argc, const char* const* argv) {
  CommandLine line;
  line.parse(argc, argv);
  return line.settings();
}

void print_error(std::ostream& err, std::string_view message, std::string_view hint) {
  err << "vmserve: " << printable(message);
  if (!hint.empty()) err << "; " << printable(hint);
  err << '\n';
}

}  // namespace vmpack
