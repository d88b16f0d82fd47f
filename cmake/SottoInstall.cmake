# Install and export rules: the client library with its header, CMake package and pkg-config file; man pages; licence.
include(CMakePackageConfigHelpers)

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
foreach(page README.md CHANGELOG.md SECURITY.md)
  if(EXISTS ${PROJECT_SOURCE_DIR}/${page})
    install(FILES ${PROJECT_SOURCE_DIR}/${page} DESTINATION ${CMAKE_INSTALL_DOCDIR})
  endif()
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/examples ${PROJECT_SOURCE_DIR}/packaging/systemd
  DESTINATION ${CMAKE_INSTALL_DOCDIR})

# What an app needs to embed a client: "cmake --install DIR --component client" installs just this.
if(TARGET sotto_client)
  set(SOTTO_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/sotto)
  set_target_properties(sotto_client PROPERTIES EXPORT_NAME client)
  install(TARGETS sotto_client EXPORT SottoTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client NAMELINK_COMPONENT client
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT client)
  install(FILES ${PROJECT_SOURCE_DIR}/client/include/sotto/client.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/sotto COMPONENT client)
  install(EXPORT SottoTargets NAMESPACE sotto:: DESTINATION ${SOTTO_CMAKE_DIR} COMPONENT client)
  configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/SottoConfig.cmake.in
    ${PROJECT_BINARY_DIR}/SottoConfig.cmake INSTALL_DESTINATION ${SOTTO_CMAKE_DIR})
  write_basic_package_version_file(${PROJECT_BINARY_DIR}/SottoConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
  install(FILES ${PROJECT_BINARY_DIR}/SottoConfig.cmake ${PROJECT_BINARY_DIR}/SottoConfigVersion.cmake
    DESTINATION ${SOTTO_CMAKE_DIR} COMPONENT client)
  # Relative to the file itself, so that "cmake --install --prefix" and a moved folder keep working.
  file(RELATIVE_PATH SOTTO_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
  string(REGEX REPLACE "/$" "" SOTTO_PC_PREFIX "${SOTTO_PC_PREFIX}")
  cmake_path(IS_ABSOLUTE CMAKE_INSTALL_INCLUDEDIR absolute)
  if(absolute)
    set(SOTTO_PC_INCLUDEDIR ${CMAKE_INSTALL_INCLUDEDIR})
  else()
    set(SOTTO_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
  endif()
  configure_file(${PROJECT_SOURCE_DIR}/cmake/sotto-client.pc.in ${PROJECT_BINARY_DIR}/sotto-client.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/sotto-client.pc
    DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT client)
endif()

# Man pages come out of the tools themselves, when they can run here: "TOOL man" prints the page.
function(sotto_man TARGET SECTION)
  if(NOT TARGET ${TARGET} OR CMAKE_CROSSCOMPILING)
    return()
  endif()
  get_target_property(name ${TARGET} OUTPUT_NAME)
  set(folder "${CMAKE_INSTALL_MANDIR}/man${SECTION}")
  install(CODE "
    set(page \"${PROJECT_BINARY_DIR}/man/${name}.${SECTION}\")
    file(MAKE_DIRECTORY \"${PROJECT_BINARY_DIR}/man\")
    execute_process(COMMAND \"${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/${name}\" man
      OUTPUT_FILE \"\${page}\" RESULT_VARIABLE result ERROR_QUIET)
    if(result EQUAL 0)
      file(INSTALL \"\${page}\" DESTINATION \"\${CMAKE_INSTALL_PREFIX}/${folder}\")
    else()
      message(STATUS \"No man page: ${name} man ended with \${result}\")
    endif()")
endfunction()
sotto_man(sottoctl 1)
sotto_man(sotto_sim_program 1)
sotto_man(sotto_coordinator_program 8)
sotto_man(sotto_client_agent 8)
