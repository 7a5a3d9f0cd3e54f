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
#include <functional>
#include <map>
#include <sstream>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "libvmpack/base/error.hpp"
#include "libvmpack/base/file_descriptor.hpp"
#include "libvmpack/base/format_text.hpp"
#include "libvmpack/source/qcow2_end.hpp"
#include "libvmpack/source/raw_source.hpp"

namespace vmpack {
namespace {

using nlohmann::json;
using namespace std::chrono_literals;

constexpr std::size_t kInfoBytesMax = 4 * kMiB;
constexpr std::size_t kMapLineBytesMax = 4 * kKiB;
constexpr std::uint64_t kMapOffsetMax = 1ULL << 62;
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
  // By default each buffer of a request is mapped and unmapped, which cost half of the throughput.
  policy.environment = {"MALLOC_ARENA_MAX=2", "MALLOC_MMAP_THRESHOLD_=4194304",
                        "MALLOC_TRIM_THRESHOLD_=67108864"};
  return policy;
}

json file_node(const std::string& path) {
  struct stat facts{};
  const bool device = ::stat(path.c_str(), &facts) == 0 && S_ISBLK(facts.st_mode);
  return {{"driver", device ? "host_device" : "file"}, {"filename", path}};
}

json layer_file_node(const ImageLayer& layer) {
  if (layer.part.length == 0) return file_node(layer.path);
  return {{"driver", "raw"},
          {"offset", layer.part.offset},
          {"size", round_up(layer.part.length, kSectorBytes)},  // as QEMU wants it; archives are padded so
          {"file", file_node(layer.path)}};
}

bool takes_backing(const std::string& format) {
  return format == "qcow2" || format == "qcow" || format == "qed" || format == "vmdk";
}

// The blockdev options of the layer at `depth` and all below it. What an image's header names is overridden:
// only what was checked is opened.
json node(const ImageChain& chain, std::size_t depth) {
  const ImageLayer& layer = chain[depth];
  json options{{"driver", layer.format}, {"read-only", true}, {"file", layer_file_node(layer)}};
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

// QEMU's last words without its name, and safe to show: the last line that begins with its name (some are
// followed by advice), or else the last line.
std::string last_words_of(std::string_view said) {
  std::string_view chosen;
  while (!said.empty()) {
    const std::size_t end = std::min(said.find('\n'), said.size());
    std::string_view line = said.substr(0, end);
    said.remove_prefix(std::min(end + 1, said.size()));
    if (line.starts_with("qemu-")) chosen = line;
    if (chosen.starts_with("qemu-") || line.empty()) continue;
    chosen = line;
  }
  std::string words = printable(chosen);
  for (const std::string_view prefix : {"qemu-nbd: ", "qemu-img: "}) {
    if (words.starts_with(prefix)) words.erase(0, prefix.size());
  }
  // The options that we passed say nothing to a reader who passed a file name.
  const std::size_t start = words.find("'json:{");
  const std::size_t end = start == std::string::npos ? start : words.find("}': ", start);
  if (end != std::string::npos) words.erase(start, end + 4 - start);
  return words;
}

[[noreturn]] void throw_qemu_error(const std::string& path, const ToolOutput& output) {
  std::string words = last_words_of(output.err);
  if (words.empty()) words = output.status.describe();
  const auto contains = [&](std::string_view text) { return words.find(text) != std::string::npos; };
  if (contains("lock")) {
    throw Error(ErrorCode::kIo, fmt::format("cannot open {}: {}", path, words),
                "a running virtual machine writes to it: stop it, or take a snapshot and use that");
  }
  if (contains("nsupported") || contains("not support")) {
    throw Error(ErrorCode::kUnsupported, fmt::format("cannot open {}: {}", path, words));
  }
  const bool damaged = output.status.signal != 0 || looks_damaged(words);
  throw Error(damaged ? ErrorCode::kDamaged : ErrorCode::kIo, fmt::format("cannot open {}: {}", path, words),
              damaged ? fmt::format("look at it with `qemu-img check {}`, or fetch it again", path) : "");
}

// qemu-img COMMAND on one layer alone.
std::vector<std::string> qemu_img(const char* command, const char* output, const ImageLayer& layer) {
  return {find_program("qemu-img", kPackage), command, output, to_filename(node({layer}, 0))};
}

json parse_output(const std::string& path, const ToolOutput& output) {
  json value = json::parse(output.out, nullptr, false);
  if (!value.is_object()) throw_qemu_error(path, output);
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
json member(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() ? *found : json();
}
bool flag(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

std::uint64_t file_bytes(const std::string& path) {
  const auto file = FileDescriptor::open(path, O_RDONLY | O_NONBLOCK);
  return image_file_bytes(file.get(), path);
}

std::uint64_t layer_bytes(const ImageLayer& layer) {
  return layer.part.length == 0 ? file_bytes(layer.path) : layer.part.length;
}

[[noreturn]] void throw_truncated(const std::string& path, std::uint64_t needed, std::uint64_t there) {
  throw Error(ErrorCode::kDamaged,
              fmt::format("{} is cut short: by its tables it goes up to byte {}, and it ends at {}", path,
                          needed, there),
              "fetch or copy it again");
}

// Runs `qemu-img map`, whose output may be long, and calls `use` for each line of it.
ToolOutput map_lines(const ImageLayer& layer, const char* output,
                     const std::function<void(const std::string&)>& use) {
  std::string line;
  const OutputSink split = [&](std::string_view piece) {
    for (const char each : piece) {
      if (each == '\n') {
        use(line);
        line.clear();
      } else if (line.size() < kMapLineBytesMax) {
        line += each;
      }
    }
  };
  ToolOutput result =
      run_sandboxed(qemu_img("map", output, layer), qemu_policy({layer}), split, kCheckTimeout);
  use(line);
  return result;
}

// Where the data that the layer maps ends in its file (in its data file, if it has one).
std::uint64_t mapped_end(const ImageLayer& layer) {
  std::uint64_t end = 0;
  const ToolOutput output = map_lines(layer, "--output=json", [&](const std::string& line) {
    // One extent a line, "[{...}," to "{...}]".
    const std::size_t first = line.find('{');
    const std::size_t last = line.rfind('}');
    if (first == std::string::npos || last == std::string::npos || last < first) return;
    const json extent = json::parse(line.substr(first, last + 1 - first), nullptr, false);
    if (!extent.contains("offset") || flag(extent, "zero")) return;
    const std::uint64_t offset = std::min(number(extent, "offset"), kMapOffsetMax);
    end = std::max(end, offset + std::min(number(extent, "length"), kMapOffsetMax));
  });
  if (!output.status.success()) throw_qemu_error(layer.path, output);
  return end;
}

void check_qcow2(const ImageLayer& layer) {
  // First what QEMU's check does not see: clusters that lie wholly behind the end of the file.
  const ByteRange last_cluster = qcow2_last_cluster(layer.path, layer.part.offset);
  const std::uint64_t there = layer_bytes(layer);
  if (there <= last_cluster.offset) throw_truncated(layer.path, last_cluster.end(), there);
  const ToolOutput output = run_sandboxed(qemu_img("check", "--output=json", layer), qemu_policy({layer}),
                                          kInfoBytesMax, kCheckTimeout);
  const json report = parse_output(layer.path, output);
  const std::uint64_t corruptions = number(report, "corruptions");
  if (corruptions != 0 || number(report, "check-errors") != 0) {
    throw Error(ErrorCode::kDamaged,
                fmt::format("{} is corrupt: qemu-img check finds {} errors ({})", layer.path,
                            corruptions + number(report, "check-errors"), last_words_of(output.err)),
                "fetch it again, or try `qemu-img check -r all` on a copy");
  }
  if (layer.data_file.empty()) {
    // The file may end inside its last cluster: a fresh image's tables do, and compressed data, and the last
    // data of a disk that is no multiple of clusters. But if a table's end was cut off, the clusters it named
    // seem lost, and if data was, it is still mapped.
    const std::uint64_t last = number(report, "image-end-offset");
    if (there >= last) return;
    if (number(report, "leaks") != 0) throw_truncated(layer.path, last, there);
    if (const std::uint64_t end = mapped_end(layer); end > there) throw_truncated(layer.path, end, there);
  } else {
    const std::uint64_t data_there = file_bytes(layer.data_file);
    const std::uint64_t end = mapped_end(layer);
    if (end > data_there) throw_truncated(layer.data_file, end, data_there);
  }
}

void check_map(const ImageLayer& layer) {
  const std::uint64_t there = layer_bytes(layer);
  if (const std::uint64_t end = mapped_end(layer); end > there) throw_truncated(layer.path, end, there);
}

// Only the map for people says in which of several files the data lies: "0x0 0x10000 0x50000 /path", in
// columns. It stops at compressed data, which does not decompress once it was cut.
void check_extents(const ImageLayer& layer) {
  std::map<std::string, std::uint64_t> ends;
  static_cast<void>(map_lines(layer, "--output=human", [&](const std::string& line) {
    std::istringstream words(line);
    std::uint64_t start = 0;
    std::uint64_t length = 0;
    std::uint64_t offset = 0;
    std::string file;
    if (!(words >> std::hex >> start >> length >> offset >> std::ws) || !std::getline(words, file)) return;
    std::uint64_t& end = ends[file];
    end = std::max(end, std::min(offset, kMapOffsetMax) + std::min(length, kMapOffsetMax));
  }));
  for (const std::string& extent : layer.extents) {
    const auto end = ends.find(extent);
    if (end == ends.end()) continue;
    if (const std::uint64_t there = file_bytes(extent); end->second > there)
      throw_truncated(extent, end->second, there);
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
  const ToolOutput output = run_sandboxed(qemu_img("info", "--output=json", layer), qemu_policy({layer}),
                                          kInfoBytesMax, kInfoTimeout);
  if (!output.status.success()) throw_qemu_error(layer.path, output);
  const json info = parse_output(layer.path, output);
  LayerFacts facts;
  facts.virtual_bytes = number(info, "virtual-size");
  facts.backing_name = text(info, "backing-filename");
  facts.backing_format = text(info, "backing-filename-format");
  facts.encrypted = flag(info, "encrypted");
  facts.data_file_name = text(member(member(info, "format-specific"), "data"), "data-file");
  return facts;
}

void check_layer(const ImageLayer& layer) {
  if (layer.format == "raw") return;
  if (layer.format == "qcow2") return check_qcow2(layer);
  if (layer.extents.empty()) return check_map(layer);
  check_extents(layer);
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
  state_->child.emplace(spawn_sandboxed(
      {find_program("qemu-nbd", kPackage), "--read-only", "--persistent", "--shared=16", "--cache=writeback",
       "--discard=ignore", "--allocation-depth", to_filename(node(chain, 0))},
      policy, fds));
  state_->folder.listener().reset();  // so that connecting fails once the child is gone
}
QemuNbd::~QemuNbd() = default;

const std::string& QemuNbd::socket_path() const { return state_->folder.socket_path(); }
SandboxLevel QemuNbd::sandbox_level() const { return state_->child->level(); }
std::string QemuNbd::last_words() const { return last_words_of(state_->child->stderr_text()); }

std::string QemuNbd::why_gone(std::chrono::milliseconds timeout) {
  const auto status = state_->child->wait_for(timeout);
  return status ? fmt::format("qemu-nbd ended with {}", status->describe()) : std::string();
}

}  // namespace vmpack
