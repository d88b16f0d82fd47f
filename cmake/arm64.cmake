# Cross toolchain: Debian's aarch64 compiler, libraries from build/arm64-sysroot (script/bootstrap --arm64).
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
get_filename_component(sysroot "${CMAKE_CURRENT_LIST_DIR}/../build/arm64-sysroot" ABSOLUTE)
set(SOTTO_ARM64_SYSROOT "${sysroot}" CACHE PATH "Unpacked arm64 packages")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SOTTO_ARM64_SYSROOT)
if(NOT IS_DIRECTORY "${SOTTO_ARM64_SYSROOT}/usr/lib/aarch64-linux-gnu")
  message(FATAL_ERROR "No arm64 libraries in ${SOTTO_ARM64_SYSROOT}: run script/bootstrap --arm64")
endif()

# Tests run once a processor: without dot products and halves, with both, and with all that the emulator has.
set(SOTTO_EMULATOR qemu-aarch64)
set(SOTTO_EMULATED_CPUS cortex-a53 cortex-a76 max)

# Programs (the nanopb generator, protoc) run here; libraries and headers are the device's, never this machine's.
set(CMAKE_FIND_ROOT_PATH ${SOTTO_ARM64_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} "${SOTTO_ARM64_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "${SOTTO_ARM64_SYSROOT}")
# Where the linker finds what the libraries themselves need: packages still divide these between the two folders.
set(rpath_link "-Wl,-rpath-link,${SOTTO_ARM64_SYSROOT}/lib/aarch64-linux-gnu")
string(APPEND rpath_link " -Wl,-rpath-link,${SOTTO_ARM64_SYSROOT}/usr/lib/aarch64-linux-gnu")
set(CMAKE_EXE_LINKER_FLAGS_INIT "${rpath_link}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "${rpath_link}")
