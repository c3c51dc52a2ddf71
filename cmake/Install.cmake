# SPDX-License-Identifier: Apache-2.0
# What `cmake --install` puts into the prefix: headers, libraries, find_package and pkg-config files.
include(CMakePackageConfigHelpers)

set_target_properties(tessera_compiled PROPERTIES EXCLUDE_FROM_ALL OFF)
install(DIRECTORY include/tessera DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(TARGETS ${targets} EXPORT tessera-targets)

set(config_dir "${CMAKE_INSTALL_LIBDIR}/cmake/tessera")
file(CONFIGURE OUTPUT tessera-config.cmake @ONLY CONTENT [[
include(CMakeFindDependencyMacro)
find_dependency(hwy 1.3 CONFIG)
if("@TESSERA_WITH_XSIMD@")
  find_dependency(xsimd CONFIG)
endif()
include("${CMAKE_CURRENT_LIST_DIR}/tessera-targets.cmake")
]])
write_basic_package_version_file("${CMAKE_CURRENT_BINARY_DIR}/tessera-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(EXPORT tessera-targets NAMESPACE tessera:: DESTINATION "${config_dir}")
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/tessera-config.cmake" "${CMAKE_CURRENT_BINARY_DIR}/tessera-config-version.cmake"
  DESTINATION "${config_dir}")

foreach(pc tessera tessera-compiled)
  configure_file(cmake/${pc}.pc.in ${pc}.pc @ONLY)
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/${pc}.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
endforeach()
