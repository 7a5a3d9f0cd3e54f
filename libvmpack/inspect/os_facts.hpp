// SPDX-License-Identifier: Apache-2.0
// Which operating systems an image holds and which packages, found by libguestfs beside the packing.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "libvmpack/source/source.hpp"

namespace vmpack {

struct Package {
  std::string name;
  std::string version;  ///< with epoch and release as the package manager writes it
  std::string architecture;
};

struct OperatingSystem {
  std::string root;          ///< device it was found on, "/dev/sda2"
  std::string type;          ///< "linux", "windows", ...
  std::string distribution;  ///< "debian"
  std::string product_name;  ///< "Debian GNU/Linux 12 (bookworm)"
  std::string version;       ///< "12.5"
  std::string architecture;
  std::string hostname;
  std::string package_format;
  std::vector<Package> packages;  ///< sorted by name
};

struct OsFacts {
  std::vector<OperatingSystem> systems;  ///< empty when none was found
};

/// OsFacts as JSON text (an object) and back. The reader throws kDamaged on text that is not such a thing.
[[nodiscard]] std::string to_json(const OsFacts& facts);
[[nodiscard]] OsFacts os_facts_from_json(const std::string& text, const std::string& where);

/// A running inspection in a child process of its own (the helper that links libguestfs: this library does
/// not).
class OsInspection {
 public:
  struct Result {
    OsFacts facts;
    std::string failure;  ///< for people; empty when it worked
  };

  /// Starts the helper and returns at once. `source` must outlive the inspection. Never throws: what fails
  /// (helper or libguestfs missing, no appliance) comes back from wait() as `failure`.
  static std::unique_ptr<OsInspection> start(const SourceAttachment& source, std::chrono::seconds time_max);

  OsInspection(const OsInspection&) = delete;
  OsInspection& operator=(const OsInspection&) = delete;
  /// Ends the helper and its appliance if they still run.
  virtual ~OsInspection() = default;

  /// Blocks until the helper is done or the time is over. Call once.
  [[nodiscard]] virtual Result wait() = 0;

 protected:
  OsInspection() = default;
};

}  // namespace vmpack
