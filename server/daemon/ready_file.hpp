// SPDX-License-Identifier: Apache-2.0
// A file that is there while clients may connect.
#pragma once

#include <string>
#include <vector>

namespace vmpack {

class ReadyFile {
 public:
  /// Holds the URIs, one a line. An empty path: there is no file. Throws system_error.
  ReadyFile(std::string path, const std::vector<std::string>& uris);
  ~ReadyFile();
  ReadyFile(const ReadyFile&) = delete;
  ReadyFile& operator=(const ReadyFile&) = delete;

 private:
  std::string path_;
};

}  // namespace vmpack
