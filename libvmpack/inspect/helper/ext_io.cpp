// SPDX-License-Identifier: Apache-2.0
#include "libvmpack/inspect/helper/ext_io.hpp"

#include <cstdlib>
#include <cstring>

namespace vmpack {
namespace {

ImageClient* current_client = nullptr;

errcode_t open_channel(const char* name, int, io_channel* channel);

errcode_t close_channel(io_channel channel) {
  if (--channel->refcount > 0) return 0;
  std::free(channel->name);
  std::free(channel);
  return 0;
}

errcode_t set_block_size(io_channel channel, int block_size) {
  channel->block_size = block_size;
  return 0;
}

// A negative count is a number of bytes.
errcode_t read_blocks(io_channel channel, unsigned long long block, int count, void* data) {
  const auto block_size = static_cast<std::uint64_t>(channel->block_size);
  const std::uint64_t bytes = count < 0 ? static_cast<std::uint64_t>(-static_cast<long long>(count))
                                        : static_cast<std::uint64_t>(count) * block_size;
  if (block > current_client->size() / block_size) return EXT2_ET_SHORT_READ;
  const ByteSpan into(static_cast<std::byte*>(data), bytes);
  return current_client->read(block * block_size, into) ? 0 : EXT2_ET_SHORT_READ;
}

errcode_t read_blocks_32(io_channel channel, unsigned long block, int count, void* data) {
  return read_blocks(channel, block, count, data);
}

errcode_t refuse_write(io_channel, unsigned long, int, const void*) { return EXT2_ET_RO_FILSYS; }
errcode_t refuse_write_64(io_channel, unsigned long long, int, const void*) { return EXT2_ET_RO_FILSYS; }
errcode_t flush(io_channel) { return 0; }

struct_io_manager make_manager() {
  struct_io_manager manager{};
  manager.magic = EXT2_ET_MAGIC_IO_MANAGER;
  manager.name = "vmpack parent";
  manager.open = open_channel;
  manager.close = close_channel;
  manager.set_blksize = set_block_size;
  manager.read_blk = read_blocks_32;
  manager.write_blk = refuse_write;
  manager.flush = flush;
  manager.read_blk64 = read_blocks;
  manager.write_blk64 = refuse_write_64;
  return manager;
}

struct_io_manager the_manager = make_manager();

// libext2fs frees nothing of a channel itself, but reads these members.
errcode_t open_channel(const char* name, int, io_channel* channel) {
  auto* made = static_cast<io_channel>(std::calloc(1, sizeof(struct_io_channel)));
  if (made == nullptr) return EXT2_ET_NO_MEMORY;
  made->magic = EXT2_ET_MAGIC_IO_CHANNEL;
  made->manager = &the_manager;
  made->name = strdup(name);
  made->block_size = 1024;
  made->refcount = 1;
  *channel = made;
  return 0;
}

}  // namespace

io_manager ext_io_manager(ImageClient& client) {
  current_client = &client;
  return &the_manager;
}

}  // namespace vmpack
