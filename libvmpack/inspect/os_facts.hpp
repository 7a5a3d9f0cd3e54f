// SPDX-License-Identifier: Apache-2.0
// Which operating systems an image holds and which packages, found in the appliance beside the packing.
#pragma once

#include <string>
#include <vector>

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

}  // namespace vmpack
