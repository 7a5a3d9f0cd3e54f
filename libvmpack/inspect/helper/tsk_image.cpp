// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/tsk_image.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <new>

namespace vmpack {

// tsk_img_open_external() does no more than this, and would bring the libraries of all image formats.
TskImage::TskImage(ImageClient& client) : image_(static_cast<Image*>(std::calloc(1, sizeof(Image)))) {
  if (!image_) throw std::bad_alloc();
  constexpr std::uint64_t kSizeMax = std::numeric_limits<TSK_OFF_T>::max();
  TSK_IMG_INFO& info = image_->info;
  info.tag = TSK_IMG_INFO_TAG;
  info.itype = TSK_IMG_TYPE_EXTERNAL;
  info.size = static_cast<TSK_OFF_T>(std::min(client.size(), kSizeMax));
  info.sector_size = static_cast<unsigned>(kSectorBytes);
  info.cache_lock.mutex = PTHREAD_MUTEX_INITIALIZER;
  info.read = read;
  info.close = [](TSK_IMG_INFO*) {};
  info.imgstat = [](TSK_IMG_INFO*, FILE*) {};
  image_->client = &client;
}

ssize_t TskImage::read(TSK_IMG_INFO* info, TSK_OFF_T offset, char* into, std::size_t length) {
  ImageClient& client = *static_cast<Image*>(static_cast<void*>(info))->client;
  if (offset < 0 || offset >= info->size) return -1;
  length = std::min<std::size_t>(length, static_cast<std::size_t>(info->size - offset));
  const auto bytes = std::as_writable_bytes(std::span(into, length));
  return client.read(static_cast<std::uint64_t>(offset), bytes) ? static_cast<ssize_t>(length) : -1;
}

}  // namespace vmpack
