# SPDX-License-Identifier: Apache-2.0
# Fails the build on an include or a link that runs against the layers (docs/architecture.md).
#
# vmpack_check_layers(): a target that reads every #include of the project; all libraries depend on it.
# vmpack_check_links(TARGET): after linking TARGET, its direct shared libraries must hold none of the image wing's.
function(vmpack_check_layers)
  add_custom_target(check_layers ALL
    COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -P ${PROJECT_SOURCE_DIR}/packaging/cmake/check_layers.cmake
    COMMENT "Checking that includes follow the layers" VERBATIM)
endfunction()

function(vmpack_check_links target)
  add_custom_command(TARGET ${target} POST_BUILD
    COMMAND ${CMAKE_COMMAND} -DBINARY=$<TARGET_FILE:${target}> -P ${PROJECT_SOURCE_DIR}/packaging/cmake/check_links.cmake
    VERBATIM)
endfunction()

vmpack_check_layers()
