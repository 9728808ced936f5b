# Libraries of Debian 12, libtorch from the folder in PROMPTSWEEP_TORCH_DIR and Arrow from that in PROMPTSWEEP_ARROW_DIR.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Protobuf REQUIRED)
find_package(absl REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(GTest REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(spdlog REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(CURL REQUIRED)
find_package(Boost REQUIRED)
find_package(PNG REQUIRED)
find_package(ZLIB REQUIRED)
find_package(JPEG REQUIRED)
pkg_check_modules(WEBP REQUIRED IMPORTED_TARGET libwebp)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ICU REQUIRED IMPORTED_TARGET icu-uc icu-i18n)
find_library(GRPC_REFLECTION grpc++_reflection REQUIRED)
find_library(ROCKSDB_SHARED NAMES librocksdb.so REQUIRED)
find_library(ROARING roaring REQUIRED)

add_library(ps_rocksdb INTERFACE)
target_link_libraries(ps_rocksdb INTERFACE ${ROCKSDB_SHARED})
add_library(ps_roaring INTERFACE)
target_link_libraries(ps_roaring INTERFACE ${ROARING})

if(NOT PROMPTSWEEP_TORCH_DIR)
  message(FATAL_ERROR "PROMPTSWEEP_TORCH_DIR is not set: run ./dev setup, which prints the folder it unpacked libtorch to")
endif()
# Its include folder carries its own google/protobuf headers, so it stands after the system's.
add_library(ps_torch INTERFACE)
target_compile_options(ps_torch INTERFACE "SHELL:-idirafter ${PROMPTSWEEP_TORCH_DIR}/include"
                                          "SHELL:-idirafter ${PROMPTSWEEP_TORCH_DIR}/include/torch/csrc/api/include")
target_link_libraries(ps_torch INTERFACE ${PROMPTSWEEP_TORCH_DIR}/lib/libtorch_cpu.so ${PROMPTSWEEP_TORCH_DIR}/lib/libc10.so)
target_link_options(ps_torch INTERFACE "LINKER:--allow-shlib-undefined")
# The extra -Wno flags are for torch's own headers, which -idirafter does not mark as system headers.
target_compile_options(ps_torch INTERFACE -Wno-deprecated-declarations -Wno-sign-compare)

# Only libpromptsweep_parquet.so links it (base/parquet).
if(PROMPTSWEEP_ARROW_DIR)
  file(GLOB arrow_libraries ${PROMPTSWEEP_ARROW_DIR}/lib/libparquet.so.* ${PROMPTSWEEP_ARROW_DIR}/lib/libarrow.so.*)
  add_library(ps_arrow INTERFACE)
  target_include_directories(ps_arrow SYSTEM INTERFACE ${PROMPTSWEEP_ARROW_DIR}/include)
  target_link_libraries(ps_arrow INTERFACE ${arrow_libraries})
endif()
