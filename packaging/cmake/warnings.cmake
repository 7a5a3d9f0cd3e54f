# SPDX-License-Identifier: Apache-2.0
# Compiler flags that every target of the project shares.
add_library(vmpack_flags INTERFACE)
target_compile_options(vmpack_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
                       -Wold-style-cast -Wcast-qual -Wformat=2 -Wundef)
# A designated initialiser leaves the rest to the members' defaults: that is what it is for.
target_compile_options(vmpack_flags INTERFACE -Wno-missing-field-initializers)
# GCC 12 sees overflows in the standard library's string and vector that are not there; the sanitizers look for real ones.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(vmpack_flags INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds)
endif()
if(VMPACK_WERROR)
  target_compile_options(vmpack_flags INTERFACE -Werror)
endif()
if(VMPACK_SANITIZE)
  target_compile_options(vmpack_flags INTERFACE -fsanitize=${VMPACK_SANITIZE} -fno-omit-frame-pointer
                         $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)  # clang does not know it
  target_link_options(vmpack_flags INTERFACE -fsanitize=${VMPACK_SANITIZE})
endif()
if(VMPACK_FUZZ)
  target_compile_options(vmpack_flags INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(vmpack_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
# GCC cannot instrument std::atomic_thread_fence for TSan (libtbb uses it) and says so; our code has none.
if(VMPACK_SANITIZE MATCHES "thread" AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(vmpack_flags INTERFACE -Wno-tsan)
endif()

find_program(VMPACK_CCACHE ccache)
if(VMPACK_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${VMPACK_CCACHE})
endif()
