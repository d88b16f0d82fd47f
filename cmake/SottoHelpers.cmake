# Project verbs: sotto_room, sotto_program, sotto_test.

# Warnings and hardening reach every target of ours through this one interface target.
add_library(sotto_options INTERFACE)
target_compile_options(sotto_options INTERFACE
  -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wstrict-prototypes -Wvla -Wformat=2
  -Wswitch-enum -Wundef -Werror
  -fno-math-errno -fno-trapping-math -ffp-contract=on
  -fstack-protector-strong -fno-common
  -UNDEBUG) # an assert is our own bug, and stays on in releases
target_compile_definitions(sotto_options INTERFACE _GNU_SOURCE SOTTO_VERSION_TEXT="${PROJECT_VERSION}")
if(SOTTO_SANITIZE)
  target_compile_options(sotto_options INTERFACE -fsanitize=${SOTTO_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer
    # gcc 12 sees its own instrumentation and warns of code that is fine; the other presets have these on.
    $<$<C_COMPILER_ID:GNU>:-Wno-conversion;-Wno-format-truncation;-Wno-stringop-overflow;-Wno-maybe-uninitialized>)
  target_link_options(sotto_options INTERFACE -fsanitize=${SOTTO_SANITIZE})
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(sotto_options INTERFACE _FORTIFY_SOURCE=2)
endif()
# Nothing in a device's program unwinds: the tables would be an eighth of it. Debuggers have .debug_frame.
if(CMAKE_CROSSCOMPILING AND NOT SOTTO_SANITIZE)
  target_compile_options(sotto_options INTERFACE -fno-asynchronous-unwind-tables -fno-unwind-tables)
endif()
target_link_options(sotto_options INTERFACE -Wl,-z,relro,-z,now)
if(SOTTO_WITH_FUZZ)
  target_compile_options(sotto_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

# sotto_room(NAME SOURCES a.c b.c [PUBLIC other_rooms...] [PRIVATE libraries...])
# A static library sotto_NAME whose public headers lie in include/.
function(sotto_room NAME)
  cmake_parse_arguments(R "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(sotto_${NAME} STATIC ${R_SOURCES})
  add_library(sotto::${NAME} ALIAS sotto_${NAME})
  target_include_directories(sotto_${NAME} PUBLIC ${CMAKE_CURRENT_SOURCE_DIR}/include
    PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(sotto_${NAME} PUBLIC ${R_PUBLIC} PRIVATE sotto_options ${R_PRIVATE})
endfunction()

# sotto_program(TARGET OUTPUT_NAME SOURCES a.c LINK libraries...)
function(sotto_program TARGET NAME)
  cmake_parse_arguments(P "" "" "SOURCES;LINK" ${ARGN})
  add_executable(${TARGET} ${P_SOURCES})
  set_target_properties(${TARGET} PROPERTIES OUTPUT_NAME ${NAME})
  target_link_libraries(${TARGET} PRIVATE sotto_options ${P_LINK})
  target_link_options(${TARGET} PRIVATE -pie)
  install(TARGETS ${TARGET} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# sotto_test(NAME SOURCES a.c LINK libraries... [ROOM dir] [LABELS l...] [TIMEOUT s] [ARGS a...])
# One cmocka executable in <build>/tests, one CTest entry. ROOM adds that room's private headers.
function(sotto_test NAME)
  cmake_parse_arguments(T "" "ROOM;TIMEOUT" "SOURCES;LINK;LABELS;ARGS" ${ARGN})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  if(NOT T_LABELS)
    set(T_LABELS unit)
  endif()
  add_executable(${NAME} ${T_SOURCES})
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
  target_link_libraries(${NAME} PRIVATE sotto_options ${T_LINK} sotto_test_support)
  if(T_ROOM)
    target_include_directories(${NAME} PRIVATE ${PROJECT_SOURCE_DIR}/${T_ROOM})
  endif()
  sotto_test_run(${NAME} ${NAME} ARGS ${T_ARGS} LABELS ${T_LABELS} TIMEOUT ${T_TIMEOUT})
endfunction()

# sotto_test_run(NAME TARGET [ARGS a...] [ENVIRONMENT e...] [LABELS l...] [TIMEOUT s]): one CTest entry for a test program; in a
# cross build one a processor of SOTTO_EMULATED_CPUS.
function(sotto_test_run NAME TARGET)
  cmake_parse_arguments(T "" "TIMEOUT" "ARGS;ENVIRONMENT;LABELS" ${ARGN})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 120)
  endif()
  if(NOT T_LABELS)
    set(T_LABELS unit)
  endif()
  if(CMAKE_CROSSCOMPILING)
    set(names "")
    foreach(cpu ${SOTTO_EMULATED_CPUS})
      add_test(NAME ${NAME}_${cpu} COMMAND ${SOTTO_EMULATOR} -cpu ${cpu} -L ${SOTTO_ARM64_SYSROOT}
        $<TARGET_FILE:${TARGET}> ${T_ARGS})
      list(APPEND names ${NAME}_${cpu})
    endforeach()
    math(EXPR T_TIMEOUT "${T_TIMEOUT} * 4")
  else()
    add_test(NAME ${NAME} COMMAND ${TARGET} ${T_ARGS})
    set(names ${NAME})
  endif()
  # What may take longer starts earlier, so that nothing long runs alone at the end.
  set_tests_properties(${names} PROPERTIES TIMEOUT ${T_TIMEOUT} COST ${T_TIMEOUT} LABELS "${T_LABELS}"
    ENVIRONMENT "SOTTO_BIN=${PROJECT_BINARY_DIR}/bin;SOTTO_SOURCE=${PROJECT_SOURCE_DIR};${T_ENVIRONMENT}")
endfunction()

# sotto_bench(NAME SOURCES a.c LINK libraries...): a program in <build>/bench, run by script/bench.
function(sotto_bench NAME)
  cmake_parse_arguments(B "" "ROOM" "SOURCES;LINK" ${ARGN})
  add_executable(${NAME} ${B_SOURCES})
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bench)
  target_link_libraries(${NAME} PRIVATE sotto_options ${B_LINK})
  if(B_ROOM)
    target_include_directories(${NAME} PRIVATE ${PROJECT_SOURCE_DIR}/${B_ROOM})
  endif()
endfunction()

# sotto_fuzz(NAME SOURCES a.c LINK libraries... [ROOM dirs...]): a libFuzzer target with a short seeded run as its test.
function(sotto_fuzz NAME)
  if(NOT SOTTO_WITH_FUZZ)
    return()
  endif()
  cmake_parse_arguments(F "" "" "SOURCES;LINK;ROOM" ${ARGN})
  add_executable(${NAME} ${F_SOURCES})
  set_target_properties(${NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
  target_link_libraries(${NAME} PRIVATE sotto_options ${F_LINK})
  target_link_options(${NAME} PRIVATE -fsanitize=fuzzer)
  foreach(room ${F_ROOM})
    target_include_directories(${NAME} PRIVATE ${PROJECT_SOURCE_DIR}/${room})
  endforeach()
  add_test(NAME ${NAME} COMMAND ${NAME} -max_total_time=8 -rss_limit_mb=512 -max_len=65536
    -timeout=10 -seed=1 -verbosity=0 -print_final_stats=0)
  set_tests_properties(${NAME} PROPERTIES TIMEOUT 120 LABELS fuzz)
endfunction()
