# SPDX-License-Identifier: Apache-2.0
# One binary for the architecture, run on many emulated cores.
include("${PROJECT_SOURCE_DIR}/cmake/Emulators.cmake")
tessera_find_qemu(${CMAKE_SYSTEM_PROCESSOR} qemu)

function(tessera_add_core name target cpu)
  tessera_add_run(${name} TARGET ${target} EMULATOR "${qemu}" -cpu "${cpu}" ARGS ${TESSERA_TEST_ARGS} ${ARGN})
endfunction()

if(CMAKE_SYSTEM_PROCESSOR STREQUAL "riscv64")
  # ta1s: tail and masked-off lanes come back as ones, which finds kernels that rely on kept lanes. Without it qemu keeps them,
  # which changes nothing for those that do not: the digests tell.
  foreach(vlen 128 256 512 1024)
    tessera_add_core(rvv-vlen${vlen} rvv "rv64,v=true,vext_spec=v1.0,vlen=${vlen}" "*same bits*")
    tessera_add_core(rvv-vlen${vlen}-ta1s rvv "rv64,v=true,vext_spec=v1.0,vlen=${vlen},rvv_ta_all_1s=true,rvv_ma_all_1s=true")
  endforeach()
  tessera_add_core(rv64-without-v scalar "rv64,v=false")
  set(tiles "N_RVV::gemm_tile<.*FloatProducts<float>, 7, 1, 4, .*TileForm.1" "N_RVV::gemm_tile<.*FloatProducts<float>, 15, 1, 2, .*TileForm.1")
elseif(CMAKE_SYSTEM_PROCESSOR STREQUAL "aarch64")
  tessera_add_core(neon neon cortex-a72)
  # What it does not inherit from NEON.
  tessera_add_core(neon-bf16 neon_bf16 "max,sve=off"
    --filenames-as-tags "[#gemm_types_test]~[.],[#reproducibility_test]~[.],[#simd_test]~[.],[#weights_test]~[.],[#zero_points_test]~[.]")
  tessera_add_core(sve2-128 sve2_128 "max,sve-max-vq=1")
  tessera_add_core(sve-256 sve_256 "max,sve-max-vq=2")
  # Five minutes if all ran: SVE has no kernels that SVE2 does not have.
  tessera_add_core(sve-512 sve a64fx "*same bits*,[simd]")
  tessera_add_core(sve2-512 sve2 "max,sve-max-vq=4")
  set_tests_properties(sve2-512 PROPERTIES COST 100)  # the longest first, so that no core idles at the end
  set(tiles "N_SVE::gemm_tile<.*FloatProducts<float>, 8, 3, .*TileForm.1" "N_SVE2::gemm_tile<.*FloatProducts<float>, 8, 3, .*TileForm.1")
endif()

# The loops of the main register tiles, with packed A, must keep everything in registers.
add_test(NAME inner-loop COMMAND "${PROJECT_SOURCE_DIR}/cmake/check_inner_loop.sh" "$<TARGET_FILE:tessera_test>" ${tiles})
