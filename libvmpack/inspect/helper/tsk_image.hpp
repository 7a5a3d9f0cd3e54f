// SPDX-License-Identifier: Apache-2.0
// Lets The Sleuth Kit read a volume through the parent instead of through a file. Read-only.
#pragma once

#include <tsk/libtsk.h>

#include <cstdlib>
#include <memory>

#include "libvmpack/inspect/helper/image_client.hpp"

namespace vmpack {

/// What is opened from get() must be closed before this goes; `client` must outlive it.
class TskImage {
 public:
  explicit TskImage(ImageClient& client);

  [[nodiscard]] TSK_IMG_INFO* get() const { return &image_->info; }

 private:
  struct Image {
    TSK_IMG_INFO info;
    ImageClient* client;
  };
  struct Free {
    void operator()(Image* image) const { std::free(image); }
  };
  static ssize_t read(TSK_IMG_INFO* info, TSK_OFF_T offset, char* into, std::size_t length);

  std::unique_ptr<Image, Free> image_;
};

}  // namespace vmpack
