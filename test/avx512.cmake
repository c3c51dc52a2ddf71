# SPDX-License-Identifier: Apache-2.0
# AVX-512 on emulated cores, whatever this machine has: a small set of tests.
set(TESSERA_TEST_BOCHS_ARGS "[reproducibility]" CACHE STRING "Catch2 arguments of the runs under Bochs")
target_link_options(tessera_test PRIVATE -static)

set(bochs "${TESSERA_DOWNLOAD_DIR}/bochs")
add_test(NAME bochs-setup COMMAND "${PROJECT_SOURCE_DIR}/cmake/bochs/bochs-setup" "${bochs}")
set_tests_properties(bochs-setup PROPERTIES FIXTURES_SETUP bochs TIMEOUT 600)
function(tessera_add_bochs target model)
  tessera_add_run(${target}-bochs TARGET ${target} ARGS ${TESSERA_TEST_BOCHS_ARGS} EMULATOR
    "${PROJECT_SOURCE_DIR}/cmake/bochs/bochs-run" "${bochs}" -m ${model} -t 1400)
  set_property(TEST ${target}-bochs APPEND PROPERTY FIXTURES_REQUIRED bochs)
  set_tests_properties(${target}-bochs PROPERTIES LABELS avx512)
endfunction()
tessera_add_bochs(avx3 corei7_skylake_x)
tessera_add_bochs(avx3_dl tigerlake)
