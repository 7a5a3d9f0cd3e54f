// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/source/qemu.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/source/raw_source.hpp"

namespace vmpack {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr std::size_t kInfoBytesMax = 4 * kMiB;
constexpr std::size_t kMapBytesMax = 512 * kMiB;
constexpr auto kInfoTimeout = 30s;
// Reads all tables of an image: 2 GiB of them where 16 TiB are in use.
constexpr auto kCheckTimeout = 900s;
constexpr std::uint64_t kQemuAddressBytes = 4 * kGiB;
constexpr std::string_view kPackage = "qemu-utils";

SandboxPolicy qemu_policy(const ImageChain& chain) {
  SandboxPolicy policy;
  for (const ImageLayer& layer : chain) {
    for (std::string& path : layer.files()) policy.readable_paths.push_back(std::move(path));
  }
  std::ranges::sort(policy.readable_paths);
  const auto twice = std::ranges::unique(policy.readable_paths);
  policy.readable_paths.erase(twice.begin(), twice.end());
  policy.read_any_file = true;  // images belong to root more often than not
  policy.address_space_bytes = kQemuAddressBytes;
  policy.cpu_seconds = 0;  // decompressing a large image takes what it takes; every request has a deadline
  policy.environment = {"MALLOC_ARENA_MAX=2"};
  return policy;
}

json file_node(const std::string& path) {
  struct stat facts{};
  const bool device = ::stat(path.c_str(), &facts) == 0 && S_ISBLK(facts.st_mode);
  return {{"driver", device ? "host_device" : "file"}, {"filename", path}};
}

bool takes_backing(const std::string& format) {
  return format == "qcow2" || format == "qcow" || format == "qed" || format == "vmdk";
}

// The blockdev options of the layer at `depth` and all below it. What an image's header names is overridden:
// only what was checked is opened.
json node(const ImageChain& chain, std::size_t depth) {
  const ImageLayer& layer = chain[depth];
  json options{{"driver", layer.format}, {"read-only", true}, {"file", file_node(layer.path)}};
  if (!layer.data_file.empty()) options["data-file"] = file_node(layer.data_file);
  if (depth + 1 < chain.size()) {
    options["backing"] = node(chain, depth + 1);
  } else if (takes_backing(layer.format)) {
    options["backing"] = nullptr;
  }
  return options;
}

std::string to_filename(const json& options) {
  return "json:" + options.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string without_program(std::string words) {
  for (const std::string_view prefix : {"qemu-nbd: ", "qemu-img: "}) {
    if (words.starts_with(prefix)) words.erase(0, prefix.size());
  }
  // The options that we passed say nothing to a reader who passed a file name.
  if (const std::size_t start = words.find("'json:{"); start != std::string::npos) {
    if (const std::size_t end = words.find("}': ", start); end != std::string::npos)
      words.erase(start, end + 4 - start);
  }
  return words;
}

[[noreturn]] void throw_qemu_error(const std::string& path, const std::string& said,
                                   const ExitStatus& status) {
  const std::string words = said.empty() ? status.describe() : without_program(said);
  const auto contains = [&](std::string_view text) { return words.find(text) != std::string::npos; };
  if (contains("lock")) {
    throw Error(ErrorCode::kIo, fmt::format("cannot open {}: {}", path, words),
                "a running virtual machine writes to it: stop it, or take a snapshot and use that");
  }
  if (contains("nsupported") || contains("not support")) {
    throw Error(ErrorCode::kUnsupported, fmt::format("cannot open {}: {}", path, words));
  }
  const bool damaged = status.signal != 0 || looks_damaged(words);
  throw Error(damaged ? ErrorCode::kDamaged : ErrorCode::kIo, fmt::format("cannot open {}: {}", path, words),
              damaged ? fmt::format("look at it with `qemu-img check {}`, or fetch it again", path) : "");
}

// Runs qemu-img COMMAND --output=json on one layer alone.
ToolOutput run_qemu_img(const char* command, const ImageLayer& layer, std::size_t bytes_max,
                        std::chrono::milliseconds timeout) {
  const ImageChain alone{layer};
  return run_sandboxed(
      {find_program("qemu-img", kPackage), command, "--output=json", to_filename(node(alone, 0))},
      qemu_policy(alone), bytes_max, timeout);
}

json parse_output(const std::string& path, const ToolOutput& output) {
  json value = json::parse(output.out, nullptr, false);
  if (value.is_discarded()) throw_qemu_error(path, output.error_line, output.status);
  return value;
}

// Missing and mistyped members count as absent: this is what a process said that a hostile image may have
// taken over.
std::uint64_t number(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}
std::string text(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}
bool flag(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

std::uint64_t file_bytes(const std::string& path) {
  const auto file = FileDescriptor::open(path, O_RDONLY | O_NONBLOCK);
  return image_file_bytes(file.get(), path);
}

[[noreturn]] void throw_truncated(const std::string& path, std::uint64_t needed, std::uint64_t there) {
  throw Error(ErrorCode::kDamaged,
              fmt::format("{} is cut short: its tables name data up to byte {}, and it ends at {}", path,
                          needed, there),
              "fetch or copy it again");
}

// Where the data that the layer maps ends in its file (in its data file, if it has one).
std::uint64_t mapped_end(const ImageLayer& layer) {
  const ToolOutput output = run_qemu_img("map", layer, kMapBytesMax, kCheckTimeout);
  if (!output.status.success()) throw_qemu_error(layer.path, output.error_line, output.status);
  std::uint64_t end = 0;
  // Element by element: the whole of a fragmented image's map would take gigabytes as values.
  const json::parser_callback_t keep_end = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth != 1 || event != json::parse_event_t::object_end) return true;
    if (parsed.contains("offset") && number(parsed, "depth") == 0 && !flag(parsed, "zero")) {
      end = std::max(end, number(parsed, "offset") + number(parsed, "length"));
    }
    return false;
  };
  if (json::parse(output.out, keep_end, false).is_discarded()) {
    throw Error(ErrorCode::kIo, fmt::format("qemu-img said something that is not JSON about {}", layer.path));
  }
  return end;
}

void check_qcow2(const ImageLayer& layer) {
  const ToolOutput output = run_qemu_img("check", layer, kInfoBytesMax, kCheckTimeout);
  const json report = parse_output(layer.path, output);
  const std::uint64_t corruptions = number(report, "corruptions");
  if (output.error_line.find("exceeding the end of the file") != std::string::npos) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is cut short: its tables name clusters behind its end at byte {}", layer.path,
                            file_bytes(layer.path)),
                "fetch or copy it again");
  }
  if (corruptions != 0 || number(report, "check-errors") != 0) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is corrupt: qemu-img check finds {} errors ({})", layer.path,
                            corruptions + number(report, "check-errors"), without_program(output.error_line)),
                "fetch it again, or try `qemu-img check -r all` on a copy");
  }
  if (layer.data_file.empty()) {
    // QEMU accepts a file that ends inside its last cluster, and so must we: the tables of a fresh image do.
    // But what was cut off there may have been data, or entries of a table, whose clusters then seem to
    // belong to nobody.
    const std::uint64_t there = file_bytes(layer.path);
    const std::uint64_t needed = number(report, "image-end-offset");
    if (there >= needed) return;
    if (number(report, "leaks") != 0) throw_truncated(layer.path, needed, there);
    if (const std::uint64_t end = mapped_end(layer); end > there) throw_truncated(layer.path, end, there);
  } else {
    const std::uint64_t there = file_bytes(layer.data_file);
    if (const std::uint64_t end = mapped_end(layer); end > there)
      throw_truncated(layer.data_file, end, there);
  }
}

// A private folder with a listening socket in it. The name must be short: a socket's path has 107 bytes.
class SocketFolder {
 public:
  SocketFolder() {
    const char* chosen = std::getenv("TMPDIR");
    path_ = chosen != nullptr && *chosen == '/' && std::strlen(chosen) < 70 ? chosen : "/tmp";
    path_ += "/vmpack-XXXXXX";
    if (::mkdtemp(path_.data()) == nullptr) throw system_error(errno, "cannot make", path_);
    socket_path_ = path_ + "/nbd.sock";
    listener_ = FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_path_.data(), socket_path_.size());
    if (!listener_ ||
        ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0 ||
        ::listen(listener_.get(), 16) < 0) {
      const int error_number = errno;
      remove();
      throw system_error(error_number, "cannot listen on", socket_path_);
    }
  }
  SocketFolder(const SocketFolder&) = delete;
  SocketFolder& operator=(const SocketFolder&) = delete;
  ~SocketFolder() { remove(); }

  const std::string& socket_path() const { return socket_path_; }
  FileDescriptor& listener() { return listener_; }

 private:
  void remove() const {
    ::unlink(socket_path_.c_str());
    ::rmdir(path_.c_str());
  }

  std::string path_;
  std::string socket_path_;
  FileDescriptor listener_;
};

}  // namespace

std::vector<std::string> ImageLayer::files() const {
  std::vector<std::string> all{path};
  if (!data_file.empty()) all.push_back(data_file);
  all.insert(all.end(), extents.begin(), extents.end());
  return all;
}

LayerFacts read_layer_facts(const ImageLayer& layer) {
  const ToolOutput output = run_qemu_img("info", layer, kInfoBytesMax, kInfoTimeout);
  if (!output.status.success()) throw_qemu_error(layer.path, output.error_line, output.status);
  const json info = parse_output(layer.path, output);
  LayerFacts facts;
  facts.virtual_bytes = number(info, "virtual-size");
  facts.backing_name = text(info, "backing-filename");
  facts.backing_format = text(info, "backing-filename-format");
  facts.encrypted = flag(info, "encrypted");
  const json specific = info.value("format-specific", json::object()).value("data", json::object());
  facts.data_file_name = text(specific, "data-file");
  return facts;
}

void check_layer(const ImageLayer& layer) {
  if (layer.format == "raw") return;
  if (layer.format == "qcow2") return check_qcow2(layer);
  // The map counts from the start of each extent: one that belongs to a set is checked by its reader.
  if (!layer.extents.empty()) return;
  const std::uint64_t there = file_bytes(layer.path);
  if (const std::uint64_t end = mapped_end(layer); end > there) throw_truncated(layer.path, end, there);
}

bool looks_damaged(const std::string& words) {
  constexpr std::array<std::string_view, 10> kAboutContents{
      "orrupt",    "nvalid",   "not in ", "Invalid argument", "too large",
      "too small", "mismatch", "exceed",  "Could not read",   "Input/output error"};
  return std::ranges::any_of(kAboutContents,
                             [&](std::string_view text) { return words.find(text) != std::string::npos; });
}

struct QemuNbd::State {
  std::string image;
  SocketFolder folder;
  std::optional<Child> child;
};

QemuNbd::QemuNbd(const ImageChain& chain) : state_(std::make_unique<State>()) {
  state_->image = chain.at(0).path;
  SandboxPolicy policy = qemu_policy(chain);
  policy.listen_fds = 1;
  // The socket is ours, handed over as systemd would: so the child needs no folder to write to.
  const std::array fds{FdMapping{state_->folder.listener().get(), 3}};
  state_->child.emplace(
      spawn_sandboxed({find_program("qemu-nbd", kPackage), "--read-only", "--persistent", "--shared=16",
                       "--cache=writeback", "--discard=ignore", to_filename(node(chain, 0))},
                      policy, fds));
  state_->folder.listener().reset();  // so that connecting fails once the child is gone
}
QemuNbd::~QemuNbd() = default;

const std::string& QemuNbd::socket_path() const { return state_->folder.socket_path(); }
SandboxLevel QemuNbd::sandbox_level() const { return state_->child->level(); }
std::string QemuNbd::last_words() const { return without_program(state_->child->stderr_last_line()); }

void QemuNbd::check_running() {
  const auto status = state_->child->wait_for(0ms);
  if (status) throw NbdFailure(fmt::format("qemu-nbd ended with {}", status->describe()), true);
}

}  // namespace vmpack
