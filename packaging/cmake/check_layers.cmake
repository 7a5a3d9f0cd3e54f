# SPDX-License-Identifier: Apache-2.0
# Reads the includes of every source file below ROOT and stops at the first ones the layers forbid.
# A folder may include itself and what its line names; third-party headers may be included only where listed.
cmake_minimum_required(VERSION 3.25)
set(ground libvmpack/base formats)
set(uses_formats ${ground})
set(uses_libvmpack/base formats)
set(uses_libvmpack/store ${ground})
set(uses_libvmpack/pack ${ground} libvmpack/store)
set(uses_libvmpack/snapshot ${uses_libvmpack/pack} libvmpack/pack)
set(uses_libvmpack/repo ${uses_libvmpack/snapshot} libvmpack/snapshot)
set(uses_libvmpack/read ${uses_libvmpack/repo} libvmpack/repo)
set(storage_wing ${uses_libvmpack/read} libvmpack/read)
set(uses_libvmpack/source ${ground})
set(uses_libvmpack/inspect ${ground} libvmpack/source)
set(uses_libvmpack/partition ${uses_libvmpack/inspect} libvmpack/inspect)
set(uses_libvmpack/ingest ${storage_wing} libvmpack/source libvmpack/inspect libvmpack/partition)
set(uses_server ${storage_wing})
set(uses_tools ${uses_libvmpack/ingest} libvmpack/ingest)
set(folders formats libvmpack/base libvmpack/store libvmpack/pack libvmpack/snapshot libvmpack/repo libvmpack/read
    libvmpack/source libvmpack/inspect libvmpack/partition libvmpack/ingest server tools)

# "header pattern|folders that may include it"
set(third_party
  "zstd.*\\.h|libvmpack/pack"
  "openssl/.*|libvmpack/base,server"
  "xxhash\\.h|libvmpack/base"
  "libnbd\\.h|libvmpack/source"
  "curl/.*|libvmpack/store"
  "expat\\.h|libvmpack/source,libvmpack/store"
  "rados/.*|libvmpack/store"
  "guestfs\\.h|libvmpack/inspect"
  "ext2fs/.*|libvmpack/inspect"
  "blkid/.*|libvmpack/inspect"
  "tsk/.*|libvmpack/inspect"
  "boost/.*|server"
  "prometheus/.*|server"
  "tbb/.*|libvmpack/ingest"
  "fuse.*\\.h|tools"
  "CLI/.*|tools,server"
  "toml\\+\\+/.*|server")

set(errors "")
foreach(folder IN LISTS folders)
  file(GLOB_RECURSE sources RELATIVE ${ROOT} ${ROOT}/${folder}/*.hpp ${ROOT}/${folder}/*.cpp)
  foreach(source IN LISTS sources)
    file(STRINGS ${ROOT}/${source} includes REGEX "^[ \t]*#[ \t]*include")
    foreach(line IN LISTS includes)
      if(line MATCHES "[<\"]((libvmpack/[a-z]+|server|tools|formats))/")
        set(used ${CMAKE_MATCH_1})
        if(NOT used STREQUAL folder AND NOT used IN_LIST uses_${folder})
          list(APPEND errors "${source}: ${folder} must not include ${used} (${line})")
        endif()
      elseif(line MATCHES "include[ \t]+\"")
        list(APPEND errors "${source}: quote includes with their path from the project's root (${line})")
      endif()
      foreach(rule IN LISTS third_party)
        string(REPLACE "|" ";" rule "${rule}")
        list(GET rule 0 pattern)
        list(GET rule 1 allowed)
        string(REPLACE "," ";" allowed "${allowed}")
        if(line MATCHES "<${pattern}>" AND NOT folder IN_LIST allowed)
          list(APPEND errors "${source}: only ${allowed} may include that library (${line})")
        endif()
      endforeach()
    endforeach()
  endforeach()
endforeach()
if(errors)
  list(JOIN errors "\n  " text)
  message(FATAL_ERROR "The layers of docs/architecture.md are broken:\n  ${text}")
endif()
