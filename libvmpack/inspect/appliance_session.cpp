// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/appliance_session.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <string_view>
#include <thread>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/inspect/appliance_process.hpp"
#include "libvmpack/inspect/appliance_volumes.hpp"
#include "libvmpack/inspect/appliance_wire.hpp"
#include "libvmpack/inspect/kvm_verdict.hpp"
#include "libvmpack/source/sandbox.hpp"

namespace vmpack {
namespace {

using appliance_wire::VolumesReport;
using Clock = std::chrono::steady_clock;

/// With working KVM the appliance starts in seconds, after it was built once, which takes a while.
constexpr auto kKvmLaunchTimeMax = std::chrono::seconds(60);

/// A folder for sockets, overlays and scratch disks: libguestfs would leave its own behind when it is killed.
class ScratchFolder {
 public:
  ScratchFolder() : path_((std::filesystem::temp_directory_path() / "vmpack-appliance-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) throw system_error(errno, "cannot make the folder", path_);
  }
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Kind and place of the image as the helper wants them. Throws Error where it cannot be reached.
std::pair<std::string_view, std::string> image_arguments(const SourceAttachment& source) {
  if (!source.raw_path.empty())
    return {appliance_wire::kRaw, std::filesystem::absolute(source.raw_path).string()};
  if (!source.nbd_socket.empty()) return {appliance_wire::kNbdSocket, source.nbd_socket};
  constexpr std::string_view kScheme = "nbd://";
  constexpr std::string_view kDefaultPort = "10809";
  if (source.nbd_uri.starts_with(kScheme)) {
    const std::string rest = source.nbd_uri.substr(kScheme.size());
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    std::string host = rest.substr(0, slash);
    const bool has_port = host.rfind(':') != std::string::npos && !host.ends_with(']');
    if (!has_port) host += fmt::format(":{}", kDefaultPort);
    return {appliance_wire::kNbdHost, host + rest.substr(slash)};
  }
  throw Error(ErrorCode::kUnsupported, "libguestfs cannot reach an image of this kind");
}

void make_presentable(OsFacts& facts) {
  for (OperatingSystem& system : facts.systems) {
    for (std::string* text :
         {&system.root, &system.type, &system.distribution, &system.product_name, &system.version,
          &system.architecture, &system.hostname, &system.package_format}) {
      *text = printable(*text);
    }
    for (Package& package : system.packages) {
      package = {printable(package.name), printable(package.version), printable(package.architecture)};
    }
    std::ranges::stable_sort(system.packages, {}, &Package::name);
  }
}

/// The file that the appliance sees as a disk, and that its report comes in.
FileDescriptor make_report_file(const std::string& folder) {
  const std::string path = fmt::format("{}/{}", folder, appliance_wire::kReportFile);
  FileDescriptor file = FileDescriptor::open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (::ftruncate(file.get(), static_cast<off_t>(appliance_wire::kReportBytesMax)) != 0) {
    throw system_error(errno, "cannot make", path);
  }
  return file;
}

class RunningSession final : public ApplianceSession {
 public:
  RunningSession(const SourceAttachment& source, std::uint64_t sector_bytes, std::chrono::seconds time_max)
      : report_file_(make_report_file(folder_.path())),
        request_(make_pipe()),
        stop_(::eventfd(0, EFD_CLOEXEC)),
        volumes_(volumes_promise_.get_future()),
        facts_(facts_promise_.get_future()),
        thread_([this, source, sector_bytes, time_max] {
          // The helper dies with the thread that started it, so this one stays until it is done.
          Facts facts;
          try {
            facts = run(source, sector_bytes, time_max);
          } catch (const std::exception& error) {
            facts.failure = error.what();
          }
          if (!volumes_told_) {
            volumes_promise_.set_value(
                {.failure = facts.failure.empty() ? "the appliance did not mention it" : facts.failure});
          }
          facts_promise_.set_value(std::move(facts));
        }) {}
  ~RunningSession() override {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t ignored = ::write(stop_.get(), &one, sizeof(one));
    thread_.join();
  }

  void ask_for(const Layout& layout) override {
    const std::string request = appliance_request(layout);
    // Less than any pipe holds, and this process has its other end.
    [[maybe_unused]] const ssize_t ignored =
        ::write(request_.write_end.get(), request.data(), request.size());
    request_.write_end.reset();
  }

  void complete(Layout& layout, Progress& progress) override {
    if (std::ranges::none_of(layout.volumes, needs_appliance)) return;
    complete_layout(layout, volumes_.get(), report_file_.get(), progress);
  }

  Facts facts() override {
    request_.write_end.reset();  // nobody asks for more
    return facts_.get();
  }

 private:
  Facts run(const SourceAttachment& source, std::uint64_t sector_bytes, std::chrono::seconds time_max) {
    const std::pair<std::string_view, std::string> image = image_arguments(source);
    const std::string helper = find_helper("vmpack-appliance-helper");
    HelperTask task;
    task.folder = folder_.path();
    task.in = request_.read_end.get();
    task.stop = stop_.get();
    task.deadline = Clock::now() + time_max;
    task.on_volumes = [this](std::string_view json) { tell_volumes(json); };
    const auto attempt = [&](std::string_view accelerator, Clock::time_point launch_deadline) {
      task.launch_deadline = launch_deadline;
      task.arguments = {helper,
                        std::to_string(::getpid()),
                        folder_.path(),
                        std::string(accelerator),
                        std::to_string(sector_bytes),
                        std::string(image.first),
                        image.second};
      return run_helper(task);
    };
    HelperRun result;
    const bool tried_kvm = kvm_may_work();
    if (tried_kvm) result = attempt(appliance_wire::kKvm, Clock::now() + kKvmLaunchTimeMax);
    if (!result.launched && !result.stopped) {
      result = attempt(appliance_wire::kTcg, task.deadline);
      // Only now is it KVM's fault, and not that of the appliance.
      if (tried_kvm && result.launched) remember_broken_kvm();
    }
    if (result.stopped) return {{}, "stopped"};
    if (!result.failure.empty()) return {{}, result.failure};
    OsFacts facts = os_facts_from_json(result.facts, "the answer of vmpack-appliance-helper");
    make_presentable(facts);
    return {std::move(facts), {}};
  }

  void tell_volumes(std::string_view json) {
    VolumesReport report = appliance_wire::volumes_report_from_json(json);
    if (volumes_told_) return;
    volumes_told_ = true;
    volumes_promise_.set_value(std::move(report));
  }

  ScratchFolder folder_;
  FileDescriptor report_file_;
  Pipe request_;
  FileDescriptor stop_;
  bool volumes_told_ = false;  ///< the thread's own
  std::promise<VolumesReport> volumes_promise_;
  std::future<VolumesReport> volumes_;
  std::promise<Facts> facts_promise_;
  std::future<Facts> facts_;
  std::thread thread_;
};

class FailedSession final : public ApplianceSession {
 public:
  explicit FailedSession(std::string failure) : failure_(std::move(failure)) {}
  void ask_for(const Layout&) override {}
  void complete(Layout& layout, Progress& progress) override {
    if (std::ranges::none_of(layout.volumes, needs_appliance)) return;
    complete_layout(layout, {.failure = failure_}, -1, progress);
  }
  Facts facts() override { return {{}, failure_}; }

 private:
  std::string failure_;
};

}  // namespace

std::unique_ptr<ApplianceSession> ApplianceSession::start(const SourceAttachment& source,
                                                          std::uint64_t sector_bytes,
                                                          std::chrono::seconds time_max) {
  try {
    return std::make_unique<RunningSession>(source, sector_bytes, time_max);
  } catch (const std::exception& error) {
    return std::make_unique<FailedSession>(error.what());
  }
}

}  // namespace vmpack
