# SPDX-License-Identifier: Apache-2.0
# The static mode on xsimd: the same kernel tests, built for one architecture each.
tessera_add_test_executable(tessera_test tessera::xsimd ${kernel_tests})

# As every translation unit compiles the kernels anew, files share two: each is in a namespace of its own.
set_target_properties(tessera_test PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
set_source_files_properties(epilogue_test.cc gemm_test.cc gemm_types_test.cc packed_test.cc reproducibility_test.cc
  weights_test.cc zero_points_test.cc PROPERTIES UNITY_GROUP products)
set_source_files_properties(attention_test.cc block_formats_test.cc causal_conv1d_test.cc conv_test.cc elementwise_test.cc
  embedding_test.cc gated_delta_rule_test.cc group_norm_test.cc kv_cache_test.cc moe_test.cc norm_test.cc permute_test.cc pool_test.cc
  resize_test.cc rope_test.cc softmax_test.cc top_k_test.cc PROPERTIES UNITY_GROUP others)

if(CMAKE_SYSTEM_PROCESSOR STREQUAL "riscv64")
  include("${PROJECT_SOURCE_DIR}/cmake/Emulators.cmake")
  tessera_find_qemu(riscv64 qemu)
  # Vectors in the kernels only: the unwinder of GCC 12 does not know the register vlenb and aborts when an exception
  # passes a frame with vectors in it, and code before main would overrun vectors of another length.
  target_compile_options(tessera_test PRIVATE -march=rv64gcv_zvl256b -mrvv-vector-bits=zvl
    -fno-vectorize -fno-slp-vectorize -mno-implicit-float)
  tessera_add_run(xsimd-rvv-vlen256 TARGET xsimd_rvv EMULATOR "${qemu}" -cpu "rv64,v=true,vext_spec=v1.0,vlen=256" ARGS "*same bits*")
  tessera_add_run(xsimd-rvv-vlen256-ta1s TARGET xsimd_rvv EMULATOR
    "${qemu}" -cpu "rv64,v=true,vext_spec=v1.0,vlen=256,rvv_ta_all_1s=true,rvv_ma_all_1s=true")
  # A build for another vector length must say so and stop, before it computes anything.
  foreach(vlen 128 512)
    add_test(NAME xsimd-rvv-refuses-vlen${vlen} COMMAND "${CMAKE_COMMAND}" "-DSAYS=built for RVV vectors of 256 bits, this core has ${vlen}"
      -P "${expect_failure}" -- "${qemu}" -cpu "rv64,v=true,vext_spec=v1.0,vlen=${vlen}"
      "$<TARGET_FILE:tessera_test>")
  endforeach()
elseif(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  include("${PROJECT_SOURCE_DIR}/cmake/Emulators.cmake")
  tessera_find_qemu(aarch64 qemu)
  tessera_add_run(xsimd-neon TARGET xsimd_neon EMULATOR "${qemu}" -cpu cortex-a72)
else()
  target_compile_options(tessera_test PRIVATE -march=haswell)
  tessera_add_run(xsimd-avx2 TARGET xsimd_avx2)

  # The other architectures, each in a build tree of its own below this one.
  include(ExternalProject)
  include("${PROJECT_SOURCE_DIR}/cmake/toolchains/cross-tools.cmake")
  foreach(arch riscv64 aarch64)
    tessera_find_cross(${arch} clang missing)
    if(missing)
      message(STATUS "xsimd on ${arch}: skipped. ${missing}")
      continue()
    endif()
    set(build "${PROJECT_BINARY_DIR}/${arch}")
    ExternalProject_Add(xsimd-${arch} SOURCE_DIR "${PROJECT_SOURCE_DIR}" BINARY_DIR "${build}"
      CMAKE_ARGS -DCMAKE_TOOLCHAIN_FILE=${PROJECT_SOURCE_DIR}/cmake/toolchains/${arch}.cmake
        -DTESSERA_DOWNLOAD_DIR=${TESSERA_DOWNLOAD_DIR} -DTESSERA_WITH_XSIMD=ON -DTESSERA_TEST_XSIMD=ON
        -DTESSERA_BUILD_BENCH=OFF -DTESSERA_BUILD_EXAMPLES=OFF -DTESSERA_BUILD_PORTS=OFF -DTESSERA_INSTALL=OFF
      BUILD_ALWAYS ON INSTALL_COMMAND "" USES_TERMINAL_BUILD ON)
    add_test(NAME xsimd-${arch} COMMAND "${CMAKE_CTEST_COMMAND}" --test-dir "${build}" --output-on-failure --no-tests=error)
    set_tests_properties(xsimd-${arch} PROPERTIES TIMEOUT 1500)
  endforeach()
endif()
