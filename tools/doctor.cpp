// SPDX-License-Identifier: Apache-2.0
// vmpack doctor: what this host can do, and the exact lines that boot a snapshot from here.
#include <fmt/core.h>

#include <algorithm>
#include <ostream>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/format_text.hpp"
#include "tools/cli.hpp"
#include "tools/doctor/boot_lines.hpp"
#include "tools/doctor/check.hpp"

namespace vmpack::cli {
namespace {

using doctor::BootLines;
using doctor::Check;
using doctor::Verdict;

constexpr std::size_t kNameDigits = 16;  // as vmserve lists them

struct DoctorOptions : CommonOptions {
  std::string reference;
  std::string server;
};

/// What the checks found, and how to boot what was asked for.
struct Diagnosis {
  std::vector<Check> checks;
  std::optional<BootLines> lines;

  [[nodiscard]] bool works(std::string_view name) const {
    const auto found = std::ranges::find(checks, name, &Check::name);
    return found != checks.end() && found->verdict == Verdict::kOk;
  }
};

const char* word(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "ok";
    case Verdict::kWarning:
      return "warning";
    case Verdict::kProblem:
      return "problem";
  }
  return "";
}

/// "web@3f9c…": never another image, whenever a machine reconnects.
std::string fixed_name(const std::string& reference, const SnapshotDigest& snapshot) {
  const auto name = reference.substr(0, reference.find_first_of(":@"));
  return fmt::format("{}@{}", name, snapshot.hex().substr(0, kNameDigits));
}

void add_snapshot_checks(const DoctorOptions& options, const Repository& repository, Diagnosis& diagnosis) {
  try {
    const SnapshotDigest snapshot = repository.resolve(options.reference);
    const Manifest manifest = repository.manifest(snapshot);
    const auto name = fixed_name(options.reference, snapshot);
    diagnosis.checks.push_back(
        {.name = "snapshot", .found = fmt::format("{}, {}", name, format_bytes(manifest.image_bytes))});
    const std::string uri = options.server.empty() ? "nbd://localhost" : options.server;
    if (!options.server.empty())
      diagnosis.checks.push_back(doctor::check_server(uri, name, manifest.image_bytes));
    const auto machine = name.substr(0, name.find('@'));
    diagnosis.lines = doctor::boot_lines(doctor::parse_server(uri), name, machine, diagnosis.works("KVM"));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kInvalid) throw;
    diagnosis.checks.push_back({"snapshot", Verdict::kProblem, error.what(), error.hint()});
  }
}

Diagnosis diagnose(const DoctorOptions& options) {
  if (!options.server.empty()) static_cast<void>(doctor::parse_server(options.server));
  Diagnosis diagnosis{.checks = doctor::check_host()};
  std::shared_ptr<const Repository> repository;
  if (!options.repository.empty()) {
    for (Check& check : doctor::check_repository(options.repository, repository))
      diagnosis.checks.push_back(std::move(check));
  }
  if (!options.reference.empty() && repository) add_snapshot_checks(options, *repository, diagnosis);
  return diagnosis;
}

void print_json(const Diagnosis& diagnosis, std::ostream& out) {
  OrderedJson checks = OrderedJson::array();
  for (const Check& check : diagnosis.checks) {
    checks.push_back({{"name", check.name},
                      {"verdict", word(check.verdict)},
                      {"found", check.found},
                      {"advice", check.advice}});
  }
  OrderedJson json = {{"checks", checks}};
  if (diagnosis.lines) {
    json["boot"] = {{"qemu", diagnosis.lines->qemu},
                    {"overlay", diagnosis.lines->overlay},
                    {"libvirt_disk", diagnosis.lines->libvirt_disk},
                    {"libvirt_domain", diagnosis.lines->libvirt_domain},
                    {"virt_install", diagnosis.lines->virt_install}};
  }
  out << dump_json(json) << '\n';
}

void print_text(const Diagnosis& diagnosis, std::ostream& out) {
  for (const Check& check : diagnosis.checks) {
    out << fmt::format("{:8} {}: {}\n", word(check.verdict), check.name, check.found);
    if (!check.advice.empty()) out << fmt::format("{:8} -> {}\n", "", check.advice);
  }
  if (!diagnosis.lines) return;
  const BootLines& lines = *diagnosis.lines;
  out << "\nQEMU; what the machine writes is thrown away:\n\n" << lines.qemu << '\n';
  out << "\nAn overlay that keeps what a machine of libvirt writes:\n\n" << lines.overlay << '\n';
  out << "\nvirt-install with it:\n\n" << lines.virt_install << '\n';
  out << "\nlibvirt, the whole domain ('virsh create FILE'):\n\n" << lines.libvirt_domain;
  out << "\nlibvirt, as a further disk of a machine that only reads it:\n\n" << lines.libvirt_disk;
}

int run_doctor(const DoctorOptions& options, const Context& context) {
  if (!options.reference.empty() && options.repository.empty()) {
    throw Error(ErrorCode::kInvalid, "no repository is named", "give --repo REPO, or set VMPACK_REPO");
  }
  const Diagnosis diagnosis = diagnose(options);
  options.json ? print_json(diagnosis, context.out) : print_text(diagnosis, context.out);
  const bool problem = std::ranges::any_of(
      diagnosis.checks, [](const Check& check) { return check.verdict == Verdict::kProblem; });
  return problem ? kFound : kDone;
}

}  // namespace

void add_doctor(CLI::App& app, const Context& context, Action& action) {
  CLI::App* command =
      app.add_subcommand("doctor", "Check this host, and print the lines that boot a snapshot from here");
  const auto options = std::make_shared<DoctorOptions>();
  command->add_option("REF", options->reference, "What to boot: NAME, NAME:TAG or NAME@DIGEST");
  command
      ->add_option("--server", options->server,
                   "A running vmserve: nbd://HOST[:PORT], nbds://… or nbd+unix:///?socket=PATH")
      ->type_name("URI");
  add_repository_option(*command, *options);
  add_common_options(*command, *options);
  command->callback([options, &context, &action] {
    action = [options, &context] { return run_doctor(*options, context); };
  });
}

}  // namespace vmpack::cli
