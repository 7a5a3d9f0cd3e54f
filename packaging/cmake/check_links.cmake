# SPDX-License-Identifier: Apache-2.0
# Stops when BINARY links a library that only vmpack needs.
cmake_minimum_required(VERSION 3.25)
find_program(READELF readelf REQUIRED)
execute_process(COMMAND ${READELF} -d ${BINARY} OUTPUT_VARIABLE dynamic RESULT_VARIABLE failed)
if(failed)
  message(FATAL_ERROR "readelf could not read ${BINARY}")
endif()
string(REGEX MATCHALL "NEEDED[^\n]*\\[[^]]*(guestfs|libnbd|ext2fs|blkid|libtsk|fuse)[^]]*\\]" forbidden "${dynamic}")
if(forbidden)
  file(REMOVE ${BINARY})
  message(FATAL_ERROR "${BINARY} links what only vmpack needs: ${forbidden}")
endif()
