// SPDX-License-Identifier: Apache-2.0
// A snapshot as one read-only, sparse file in a folder, through FUSE. The only place that knows libfuse.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "libvmpack/read/image_reader.hpp"

namespace vmpack {

/// What the image is called in the folder.
inline constexpr const char* kMountedImageName = "disk.raw";

struct ImageMountOptions {
  std::string folder;                 ///< must exist
  std::string source;                 ///< what mount tables show; without commas
  std::uint64_t data_bytes = 0;       ///< what the file seems to take on the disk
  std::int64_t modified_seconds = 0;  ///< its time, since 1970
  bool allow_other = false;           ///< other users may read it; FUSE keeps even root out otherwise
  /// Called for what a reader only sees as an I/O error; any thread.
  std::function<void(const std::string& message)> report;
};

/// Mounted from construction to destruction. Not for use by two threads at once.
class ImageMount {
 public:
  /// Throws kNotFound without the folder or /dev/fuse, kIo when FUSE refuses.
  ImageMount(std::shared_ptr<const ImageReader> image, ImageMountOptions options);
  ~ImageMount();
  ImageMount(const ImageMount&) = delete;
  ImageMount& operator=(const ImageMount&) = delete;

  /// The path of the image as a file.
  [[nodiscard]] std::string image_path() const;

  /// Goes on in a child process, with no terminal and in the root folder; the parent ends with exit code 0.
  /// Before serve(), and while there is no other thread.
  void continue_in_background();

  /// Serves until the folder is unmounted or a signal asks to end (SIGINT, SIGTERM, SIGHUP).
  void serve();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vmpack
