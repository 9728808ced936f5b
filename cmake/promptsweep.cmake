# The three kinds of target: a library per folder, a program, a test. Warnings are errors in all of them.

find_program(CCACHE ccache)
if(CCACHE)
  # The precompiled torch header is cached too.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env "CCACHE_SLOPPINESS=pch_defines,time_macros" ${CCACHE})
endif()

# Links the many tests in a fifth of the time.
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(ps_flags INTERFACE)
target_compile_options(ps_flags INTERFACE -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers)
target_include_directories(ps_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_definitions(ps_flags INTERFACE PROMPTSWEEP_VERSION="${PROJECT_VERSION}")
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(ps_flags INTERFACE -Wthread-safety)
endif()
if(PROMPTSWEEP_SANITIZE)
  add_compile_options(-fsanitize=${PROMPTSWEEP_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${PROMPTSWEEP_SANITIZE})
endif()

# ps_library(NAME SRCS ... DEPS ...): a static library; its headers are included from the root of the tree.
function(ps_library name)
  cmake_parse_arguments(arg "" "" "SRCS;DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SRCS})
  target_link_libraries(${name} PUBLIC ps_flags ${arg_DEPS})
endfunction()

# ps_program(NAME SRCS ... DEPS ...): a program in bin/.
function(ps_program name)
  cmake_parse_arguments(arg "" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${arg_SRCS})
  target_link_libraries(${name} PRIVATE ps_flags ${arg_DEPS})
endfunction()

# Built and run with the address and undefined-behaviour sanitizers in every `./dev test`: what reads
# bytes from outside and needs neither gRPC, RocksDB nor torch, which take too long to build or link a second time.
set(PROMPTSWEEP_SANITIZED_TESTS
    "^(half_test|hash_test|npy_test|blob_uri_test|s3_xml_test|sweep_.*_test|weights_.+_test|worker_image_codec_test)$")
add_custom_target(sanitized_tests)

# ps_test(NAME SRCS ... DEPS ... LABELS unit|fault|sim|e2e|torch ...): one gtest program, one ctest entry.
function(ps_test name)
  cmake_parse_arguments(arg "" "TIMEOUT" "SRCS;DEPS;LABELS" ${ARGN})
  add_executable(${name} ${arg_SRCS})
  target_link_libraries(${name} PRIVATE ps_flags ${arg_DEPS} GTest::gmock GTest::gtest_main)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_compile_definitions(${name} PRIVATE PROMPTSWEEP_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                             PROMPTSWEEP_BIN_DIR="${CMAKE_BINARY_DIR}/bin")
  # What a test itself does is soon done; what it tests is compiled as it is shipped.
  target_compile_options(${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O1>)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT arg_LABELS)
    set(arg_LABELS unit)
  endif()
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 300)
  endif()
  if(name MATCHES "${PROMPTSWEEP_SANITIZED_TESTS}")
    list(APPEND arg_LABELS sanitized)
    add_dependencies(sanitized_tests ${name})
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABELS}" TIMEOUT ${arg_TIMEOUT})
  if("e2e" IN_LIST arg_LABELS OR "bench" IN_LIST arg_LABELS)
    set_tests_properties(${name} PROPERTIES RUN_SERIAL ON)  # whole processes, and clocks
  endif()
endfunction()

# ps_use_torch_pch(TARGET): compiles the target with the shared precompiled torch header.
function(ps_use_torch_pch name)
  target_precompile_headers(${name} REUSE_FROM ps_torch_pch)
endfunction()
