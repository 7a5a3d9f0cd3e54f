# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts where, for programs that use the libraries: headers, archives, and the CMake package
# `vmpack` with the targets vmpack::core and vmpack::ingest. (Programs are installed where they are declared.)
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/vmpack)

# json.hpp, flatbuffer.hpp, curl_library.hpp and rados/ wrap libraries that only our own sources may see; helper/ and walker/
# belong to programs.
install(DIRECTORY libvmpack/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/libvmpack COMPONENT development
        FILES_MATCHING PATTERN "*.hpp" PATTERN "helper" EXCLUDE PATTERN "walker" EXCLUDE
        PATTERN "base/json.hpp" EXCLUDE PATTERN "base/flatbuffer.hpp" EXCLUDE
        PATTERN "s3/curl_library.hpp" EXCLUDE PATTERN "rados" EXCLUDE)

# An export for each wing: who only uses vmpack::core need not have what vmpack::ingest links.
foreach(library core ingest)
  install(TARGETS vmpack_${library} EXPORT vmpack_${library}_targets COMPONENT development
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT vmpack_${library}_targets NAMESPACE vmpack:: FILE vmpack-${library}-targets.cmake
          DESTINATION ${package_dir} COMPONENT development)
endforeach()

configure_package_config_file(packaging/cmake/vmpackConfig.cmake.in ${PROJECT_BINARY_DIR}/vmpackConfig.cmake
                              INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# Before 1.0 a minor version may change anything.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/vmpackConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/vmpackConfig.cmake ${PROJECT_BINARY_DIR}/vmpackConfigVersion.cmake
        DESTINATION ${package_dir} COMPONENT development)
