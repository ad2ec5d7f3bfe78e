# install: the driver, the shipped models, and the libraries as mambac::ir, mambac::passes, ...
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

get_property(libraries GLOBAL PROPERTY MAMBAC_LIBRARIES)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mambac)

install(TARGETS ${libraries} mambac_llvm EXPORT mambacTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS mambac RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(EXPORT mambacTargets NAMESPACE mambac:: DESTINATION ${package_dir})
install(DIRECTORY ir passes codegen runtime frontend DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/mambac
        FILES_MATCHING PATTERN "*.h" PATTERN "*.def")
# What lies in models/tuned is within the driver.
install(DIRECTORY models DESTINATION ${CMAKE_INSTALL_DATADIR}/mambac FILES_MATCHING PATTERN "*.mb"
        PATTERN tuned EXCLUDE)

configure_package_config_file(cmake/mambacConfig.cmake.in ${CMAKE_CURRENT_BINARY_DIR}/mambacConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/mambacConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/mambacConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/mambacConfigVersion.cmake
        DESTINATION ${package_dir})
