// SPDX-License-Identifier: Apache-2.0
// The functions of librados that the store uses. The library is loaded when a rados:// store is first opened:
// linking it would cost every start of every program several milliseconds, and its absence all of them.
#pragma once

#include <rados/librados.h>

#include <memory>

namespace vmpack {

// Each is rados_<name> in the library.
// clang-format off
#define VMPACK_LIBRADOS_FUNCTIONS(F) \
  F(create2) F(shutdown) F(connect) F(conf_set) F(conf_read_file) F(conf_parse_env) F(ioctx_create) \
  F(ioctx_destroy) F(ioctx_set_namespace) F(exec) F(read) F(nobjects_list_open) F(nobjects_list_next2) \
  F(nobjects_list_close) F(create_write_op) F(release_write_op) F(write_op_assert_exists) \
  F(write_op_create) F(write_op_cmpxattr) F(write_op_setxattr) F(write_op_write_full) \
  F(write_op_remove) F(write_op_set_alloc_hint2) F(aio_write_op_operate) F(create_read_op) \
  F(release_read_op) F(read_op_stat) F(read_op_getxattrs) F(read_op_read) F(aio_read_op_operate) \
  F(getxattrs_next) F(getxattrs_end) F(aio_create_completion2) F(aio_wait_for_complete) \
  F(aio_get_return_value) F(aio_release)
// clang-format on

struct LibRados {
#define VMPACK_DECLARE(name) decltype(&::rados_##name) name = nullptr;
  VMPACK_LIBRADOS_FUNCTIONS(VMPACK_DECLARE)
#undef VMPACK_DECLARE
};

/// Throws kUnsupported, with what to install, where the library is not. It stays loaded.
[[nodiscard]] std::shared_ptr<const LibRados> load_librados();

}  // namespace vmpack
