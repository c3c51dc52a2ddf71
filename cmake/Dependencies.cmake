# SPDX-License-Identifier: Apache-2.0
# Resolves what Tessera builds on. Each dependency is tried in this order:
#   1. a target that the including project already has, or an installed package (find_package);
#   2. a source directory of yours: -DFETCHCONTENT_SOURCE_DIR_<NAME>=dir;
#   3. the pinned upstream release, by URL and SHA-256;
#   4. the same source through apt, unprivileged and private to TESSERA_DOWNLOAD_DIR (apt-private).
# Sources, not binaries: they are compiled with the project, so cross builds and sanitizers have them too.
# No step waits for more than ten seconds on a silent network.
include_guard(GLOBAL)

set(TESSERA_DOWNLOAD_DIR "${CMAKE_BINARY_DIR}/_deps" CACHE PATH "Where fetched sources and data are kept")
set(TESSERA_APT_PRIVATE "${CMAKE_CURRENT_LIST_DIR}/apt-private")

# Runs apt-private for <suite>. <result> becomes its output, or empty with the reason in <result>_ERROR.
function(tessera_apt result suite)
  execute_process(
    COMMAND "${TESSERA_APT_PRIVATE}" "${TESSERA_DOWNLOAD_DIR}/apt-${suite}$ENV{APT_PRIVATE_ARCH}" ${suite} ${ARGN}
    RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE error TIMEOUT 600
    OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_STRIP_TRAILING_WHITESPACE)
  if(code EQUAL 0)
    set(${result} "${output}" PARENT_SCOPE)
  else()
    string(REGEX REPLACE ".*\n" "" error "${error}")
    set(${result} "" PARENT_SCOPE)
    set(${result}_ERROR "${error}" PARENT_SCOPE)
  endif()
endfunction()

# CMake's default generator needs make, also where only Ninja is installed: then it is taken through apt. Called
# before project(), which looks for it.
function(tessera_require_make)
  if(NOT CMAKE_GENERATOR STREQUAL "Unix Makefiles" OR CMAKE_MAKE_PROGRAM)
    return()
  endif()
  find_program(TESSERA_MAKE NAMES gmake make HINTS "${TESSERA_DOWNLOAD_DIR}/make/usr/bin")
  if(NOT TESSERA_MAKE)
    tessera_apt(unpacked bookworm unpack "${TESSERA_DOWNLOAD_DIR}/make" make)
    if(unpacked_ERROR)
      message(FATAL_ERROR "make is not installed, and no apt package (${unpacked_ERROR}). Install make, or "
        "export CMAKE_GENERATOR=Ninja and remove ${CMAKE_BINARY_DIR}.")
    endif()
    find_program(TESSERA_MAKE NAMES make HINTS "${TESSERA_DOWNLOAD_DIR}/make/usr/bin" REQUIRED)
  endif()
  set(CMAKE_MAKE_PROGRAM "${TESSERA_MAKE}" CACHE FILEPATH "make")
endfunction()

# Downloads <url> to <file>. <error> becomes empty, or the reason why the file is not there.
# The first host that does not answer ends all downloads of this configure run.
function(tessera_download url sha256 file error)
  get_property(reason GLOBAL PROPERTY TESSERA_NO_NETWORK)
  if(NOT reason)
    string(REGEX MATCH "^https?://[^/]+" host "${url}")
    file(DOWNLOAD "${host}/robots.txt" STATUS status TIMEOUT 10)
    list(POP_FRONT status code)
    if(NOT code MATCHES "^(0|22)$")  # 22: the host answered, without such a page
      set_property(GLOBAL PROPERTY TESSERA_NO_NETWORK "${host}: ${status}")
      set(reason "${host}: ${status}")
    else()
      file(DOWNLOAD "${url}" "${file}.part" STATUS status INACTIVITY_TIMEOUT 10 TIMEOUT 300)
      list(POP_FRONT status code)
      if(NOT code EQUAL 0)
        set(reason "${url}: ${status}")
      else()
        file(SHA256 "${file}.part" hash)
        if(hash STREQUAL sha256)
          file(RENAME "${file}.part" "${file}")
        else()
          set(reason "${url}: SHA-256 is ${hash}, expected ${sha256}")
        endif()
      endif()
    endif()
  endif()
  set(${error} "${reason}" PARENT_SCOPE)
endfunction()

# Unpacks the source of a dependency and sets <name>_SOURCE_DIR, or stops with one sentence.
function(tessera_fetch name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "VERSION;URL;SHA256;APT_SOURCE;APT_DEB;INSTALL" "")
  string(TOUPPER ${name} upper)
  set(dir "${TESSERA_DOWNLOAD_DIR}/${name}-${arg_VERSION}")
  if(FETCHCONTENT_SOURCE_DIR_${upper})
    set(dir "${FETCHCONTENT_SOURCE_DIR_${upper}}")
  elseif(NOT EXISTS "${dir}")
    file(MAKE_DIRECTORY "${TESSERA_DOWNLOAD_DIR}")
    file(LOCK "${TESSERA_DOWNLOAD_DIR}/lock" GUARD FUNCTION TIMEOUT 600)
  endif()
  if(NOT EXISTS "${dir}")
    set(archive "${dir}.tar.gz")
    tessera_download("${arg_URL}" ${arg_SHA256} "${archive}" url_error)
    if(url_error AND arg_APT_SOURCE)
      tessera_apt(archive sid source ${arg_APT_SOURCE})
    elseif(url_error)
      tessera_apt(unpacked sid unpack "${dir}.part" ${arg_APT_DEB})
    endif()
    if(archive_ERROR OR unpacked_ERROR)
      message(FATAL_ERROR "Tessera needs ${arg_INSTALL}: no installed package, no download (${url_error}), "
        "no apt package (${archive_ERROR}${unpacked_ERROR}). Install ${arg_INSTALL}, or unpack its source "
        "and pass -DFETCHCONTENT_SOURCE_DIR_${upper}=<directory>.")
    endif()
    if(NOT url_error OR arg_APT_SOURCE)
      file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${dir}.part")
      file(GLOB top LIST_DIRECTORIES true "${dir}.part/*")
      file(RENAME "${top}" "${dir}")
    else()
      file(RENAME "${dir}.part/usr" "${dir}")
    endif()
    file(REMOVE_RECURSE "${dir}.part")
  endif()
  message(STATUS "Tessera: ${name} from source (${dir})")
  set(${name}_SOURCE_DIR "${dir}" PARENT_SCOPE)
endfunction()

# Adds a fetched source as a silent part of this build: no status lines, no warnings, options as set here.
macro(tessera_add_fetched name)
  set(CMAKE_POLICY_DEFAULT_CMP0077 NEW)  # option() and set(CACHE) leave the caller's variables alone
  set(CMAKE_POLICY_DEFAULT_CMP0126 NEW)
  set(CMAKE_MESSAGE_LOG_LEVEL WARNING)
  set(CMAKE_WARN_DEPRECATED OFF)
  set(CMAKE_COMPILE_WARNING_AS_ERROR OFF)
  set(CMAKE_CXX_CLANG_TIDY "")
  set(CMAKE_EXPORT_COMPILE_COMMANDS OFF)
  set(BUILD_SHARED_LIBS OFF)
  add_subdirectory("${${name}_SOURCE_DIR}" "${CMAKE_BINARY_DIR}/_deps/${name}" ${ARGN} SYSTEM)
endmacro()

# hwy::hwy, and hwy::hwy_contrib for hwy::ThreadPool.
function(tessera_require_highway)
  if(NOT TARGET hwy AND NOT TARGET hwy::hwy)
    find_package(hwy 1.3 CONFIG QUIET GLOBAL)
  endif()
  if(NOT TARGET hwy AND NOT TARGET hwy::hwy)
    tessera_fetch(highway VERSION 1.3.0
      URL https://github.com/google/highway/archive/refs/tags/1.3.0.tar.gz
      SHA256 07b3c1ba2c1096878a85a31a5b9b3757427af963b1141ca904db2f9f4afe0bc2
      APT_SOURCE highway INSTALL "Highway >= 1.3 (Debian: libhwy-dev)")
    set(HWY_ENABLE_TESTS OFF)
    set(HWY_ENABLE_EXAMPLES OFF)
    set(HWY_ENABLE_CONTRIB OFF)       # its vqsort takes minutes to compile; the thread pool is below
    set(HWY_ENABLE_INSTALL ${TESSERA_INSTALL})
    set(HWY_CMAKE_RVV OFF)            # the vector unit is found at run time
    set(CMAKE_PROJECT_VERSION 1.3.0)  # what libhwy.pc calls its version
    if(TESSERA_INSTALL)               # an installed Tessera needs its Highway beside it
      tessera_add_fetched(highway)
    else()
      tessera_add_fetched(highway EXCLUDE_FROM_ALL)
    endif()
    set_target_properties(hwy_test hwy_list_targets PROPERTIES EXCLUDE_FROM_ALL ON)
    target_compile_options(hwy PRIVATE -w)
    set_target_properties(hwy PROPERTIES POSITION_INDEPENDENT_CODE ON)  # part of the ports
    set(contrib "${highway_SOURCE_DIR}/hwy/contrib")
    add_library(tessera_hwy_pool STATIC EXCLUDE_FROM_ALL
      ${contrib}/thread_pool/topology.cc ${contrib}/sort/vqsort.cc ${contrib}/sort/vqsort_f64a.cc)
    target_compile_definitions(tessera_hwy_pool PRIVATE HWY_COMPILE_ONLY_STATIC)  # it sorts a few timings
    target_compile_options(tessera_hwy_pool PRIVATE -w)
    set_target_properties(tessera_hwy_pool PROPERTIES POSITION_INDEPENDENT_CODE ON)
    target_link_libraries(tessera_hwy_pool PUBLIC hwy)
    add_library(hwy::hwy_contrib ALIAS tessera_hwy_pool)
  endif()
  foreach(lib hwy hwy_contrib)
    if(NOT TARGET hwy::${lib})
      add_library(hwy::${lib} ALIAS ${lib})
    endif()
  endforeach()
endfunction()

# xsimd (headers).
function(tessera_require_xsimd)
  if(NOT TARGET xsimd)
    find_package(xsimd CONFIG QUIET GLOBAL)  # its version file refuses newer majors: compared here
  endif()
  if(TARGET xsimd AND xsimd_VERSION AND xsimd_VERSION VERSION_LESS 13)
    message(FATAL_ERROR "Tessera needs xsimd >= 13, and the installed one is ${xsimd_VERSION}: remove it, "
      "or pass -DCMAKE_DISABLE_FIND_PACKAGE_xsimd=ON to have a newer one fetched.")
  elseif(NOT TARGET xsimd)
    tessera_fetch(xsimd VERSION 14.3.0
      URL https://github.com/xtensor-stack/xsimd/archive/refs/tags/14.3.0.tar.gz
      SHA256 b3d50e7a73fbf4642ceef30131c93414901d69eee41c2a5302db650b03e2c792
      APT_DEB libxsimd-dev INSTALL "xsimd >= 13 (Debian: libxsimd-dev)")
    add_library(xsimd INTERFACE IMPORTED GLOBAL)
    target_include_directories(xsimd INTERFACE "${xsimd_SOURCE_DIR}/include")
  endif()
endfunction()

# Catch2::Catch2WithMain.
function(tessera_require_catch2)
  if(NOT TARGET Catch2::Catch2WithMain)
    find_package(Catch2 3.4 CONFIG QUIET GLOBAL)
  endif()
  if(NOT TARGET Catch2::Catch2WithMain)
    tessera_fetch(catch2 VERSION 3.7.1
      URL https://github.com/catchorg/Catch2/archive/refs/tags/v3.7.1.tar.gz
      SHA256 c991b247a1a0d7bb9c39aa35faf0fe9e19764213f28ffba3109388e62ee0269c
      APT_SOURCE catch2 INSTALL "Catch2 >= 3.4 (Debian: catch2)")
    set(CMAKE_UNITY_BUILD ON)
    set(CMAKE_UNITY_BUILD_BATCH_SIZE 32)
    tessera_add_fetched(catch2 EXCLUDE_FROM_ALL)
    target_compile_options(Catch2 PRIVATE -w)
  endif()
endfunction()

# benchmark::benchmark.
function(tessera_require_benchmark)
  if(NOT TARGET benchmark::benchmark)
    find_package(benchmark 1.7 CONFIG QUIET GLOBAL)
  endif()
  if(NOT TARGET benchmark::benchmark)
    tessera_fetch(benchmark VERSION 1.9.1
      URL https://github.com/google/benchmark/archive/refs/tags/v1.9.1.tar.gz
      SHA256 32131c08ee31eeff2c8968d7e874f3cb648034377dfc32a4c377fa8796d84981
      APT_SOURCE benchmark INSTALL "Google Benchmark (Debian: libbenchmark-dev)")
    foreach(feature TESTING GTEST_TESTS INSTALL WERROR)
      set(BENCHMARK_ENABLE_${feature} OFF)
    endforeach()
    tessera_add_fetched(benchmark EXCLUDE_FROM_ALL)
    target_compile_options(benchmark PRIVATE -w)
  endif()
endfunction()

# Fashion-MNIST, unpacked: sets TESSERA_FASHION_MNIST_DIR to the directory of the four *-ubyte files.
# Installed Debian package, else the package through apt, else the files of the authors.
function(tessera_require_fashion_mnist)
  set(files
    train-images-idx3-ubyte 3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
    train-labels-idx1-ubyte a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
    t10k-images-idx3-ubyte 346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
    t10k-labels-idx1-ubyte 67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5)
  set(dir "${TESSERA_DOWNLOAD_DIR}/fashion-mnist")
  set(package "usr/share/datasets/fashion-mnist")
  if(NOT DEFINED CACHE{TESSERA_FASHION_MNIST_DIR} AND NOT EXISTS "${dir}")
    set(gz "/${package}")
    if(NOT EXISTS "${gz}")
      set(gz "${dir}.part/${package}")
      tessera_apt(unpacked sid unpack "${dir}.part" dataset-fashion-mnist)
    endif()
    file(MAKE_DIRECTORY "${gz}" "${dir}.part/files")
    while(files)
      list(POP_FRONT files name sha256)
      if(NOT EXISTS "${gz}/${name}.gz")
        tessera_download(
          "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/${name}.gz"
          ${sha256} "${gz}/${name}.gz" error)
        if(error)
          message(FATAL_ERROR "Fashion-MNIST: no installed package, no apt package (${unpacked_ERROR}), no download "
            "(${error}). Install dataset-fashion-mnist, or pass -DTESSERA_FASHION_MNIST_DIR=<directory of the "
            "unpacked files>, or -DTESSERA_BUILD_EXAMPLES=OFF.")
        endif()
      endif()
      execute_process(COMMAND gzip -dc "${gz}/${name}.gz" OUTPUT_FILE "${dir}.part/files/${name}"
        COMMAND_ERROR_IS_FATAL ANY)
    endwhile()
    file(RENAME "${dir}.part/files" "${dir}")
    file(REMOVE_RECURSE "${dir}.part")
  endif()
  set(TESSERA_FASHION_MNIST_DIR "${dir}" CACHE PATH "The unpacked Fashion-MNIST files")
endfunction()

# The npm package @vladmandic/face-api, for the weights of its face detectors and its sample photographs: sets
# TESSERA_FACE_API_DIR to its directory, or to empty with a status line that says why. Through npm and its own configuration.
function(tessera_find_face_api)
  set(version 1.7.15)
  set(sha256 0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031)
  set(dir "${TESSERA_DOWNLOAD_DIR}/face-api-${version}")
  if(NOT DEFINED CACHE{TESSERA_FACE_API_DIR} AND NOT EXISTS "${dir}")
    file(MAKE_DIRECTORY "${TESSERA_DOWNLOAD_DIR}")
    file(LOCK "${TESSERA_DOWNLOAD_DIR}/lock" GUARD FUNCTION TIMEOUT 600)
    set(archive "${TESSERA_DOWNLOAD_DIR}/vladmandic-face-api-${version}.tgz")
    set(error "npm is not installed")
    find_program(TESSERA_NPM npm)
    if(NOT EXISTS "${archive}" AND TESSERA_NPM)
      execute_process(
        COMMAND "${TESSERA_NPM}" pack "@vladmandic/face-api@${version}" --pack-destination "${TESSERA_DOWNLOAD_DIR}"
          --fetch-retries=1 --fetch-timeout=10000
        RESULT_VARIABLE code OUTPUT_QUIET ERROR_QUIET TIMEOUT 300)
      set(error "npm pack: ${code}")
    endif()
    if(EXISTS "${archive}")
      file(SHA256 "${archive}" hash)
      if(NOT hash STREQUAL sha256)
        set(error "npm pack: SHA-256 is ${hash}, expected ${sha256}")
        file(REMOVE "${archive}")
      endif()
    endif()
    if(EXISTS "${archive}")
      file(ARCHIVE_EXTRACT INPUT "${archive}" DESTINATION "${dir}.part" PATTERNS package/model/* package/demo/*.jpg package/LICENSE)
      file(RENAME "${dir}.part/package" "${dir}")
      file(REMOVE_RECURSE "${dir}.part")
    else()
      message(STATUS "Tessera: example face_detection left out: no @vladmandic/face-api (${error})")
      set(TESSERA_FACE_API_DIR "" PARENT_SCOPE)
      return()
    endif()
  endif()
  set(TESSERA_FACE_API_DIR "${dir}" CACHE PATH "The unpacked npm package @vladmandic/face-api")
endfunction()

# tessera_image_codecs: libjpeg and libpng. Installed ones, else Debian's static libraries through apt. Sets
# TESSERA_HAS_IMAGE_CODECS, or says in a status line why not.
function(tessera_find_image_codecs)
  add_library(tessera_image_codecs INTERFACE)
  set(TESSERA_HAS_IMAGE_CODECS ON PARENT_SCOPE)
  find_package(JPEG QUIET)
  find_package(PNG QUIET)
  if(JPEG_FOUND AND PNG_FOUND)
    target_link_libraries(tessera_image_codecs INTERFACE JPEG::JPEG PNG::PNG)
    return()
  endif()
  set(dir "${TESSERA_DOWNLOAD_DIR}/image-codecs")
  if(NOT EXISTS "${dir}")
    tessera_apt(unpacked bookworm unpack "${dir}.part" libjpeg62-turbo-dev libpng-dev zlib1g-dev)
    if(unpacked_ERROR)
      message(STATUS "Tessera: example face_detection left out: no libjpeg and libpng, installed or through apt "
        "(${unpacked_ERROR})")
      set(TESSERA_HAS_IMAGE_CODECS OFF PARENT_SCOPE)
      return()
    endif()
    file(RENAME "${dir}.part" "${dir}")
  endif()
  file(GLOB include_dirs LIST_DIRECTORIES true "${dir}/usr/include" "${dir}/usr/include/*-linux-gnu")
  target_include_directories(tessera_image_codecs SYSTEM INTERFACE ${include_dirs})
  foreach(library libjpeg.a libpng16.a libz.a)
    file(GLOB path "${dir}/usr/lib/*/${library}")
    target_link_libraries(tessera_image_codecs INTERFACE "${path}")
  endforeach()
  target_link_libraries(tessera_image_codecs INTERFACE m)
endfunction()

# Programs and libraries of Debian sid for the processor that is compiled for, with all they depend on and the C library they
# were built for, taken through apt into TESSERA_DOWNLOAD_DIR: sets <name>_ROOT, the directory where they lie, and <name>_LOADER, the
# command that a program is run by to use them (in cross builds behind an emulator).
# Maintainer scripts do not run: an alternative such as libblas.so.3 is found in its own directory only.
function(tessera_require_sid name)
  set(dir "${TESSERA_DOWNLOAD_DIR}/sid-${CMAKE_SYSTEM_PROCESSOR}/${name}")
  if(NOT EXISTS "${dir}")
    if(CMAKE_CROSSCOMPILING)
      string(REPLACE aarch64 arm64 arch ${CMAKE_SYSTEM_PROCESSOR})
      set(ENV{APT_PRIVATE_ARCH} ${arch})
    endif()
    file(MAKE_DIRECTORY "${TESSERA_DOWNLOAD_DIR}")
    file(LOCK "${TESSERA_DOWNLOAD_DIR}/lock" GUARD FUNCTION TIMEOUT 600)
    tessera_apt(unpacked sid tree "${dir}.part" ${ARGN})
    unset(ENV{APT_PRIVATE_ARCH})
    if(unpacked_ERROR)
      list(JOIN ARGN ", " packages)
      message(FATAL_ERROR "Debian sid's ${packages} through apt: ${unpacked_ERROR}. Turn TESSERA_TEST_GGML and TESSERA_TEST_PORTS off.")
    endif()
    file(RENAME "${dir}.part" "${dir}")
  endif()
  file(GLOB loader "${dir}/usr/lib*/ld-linux-*.so.?")
  file(GLOB libraries LIST_DIRECTORIES true "${dir}/usr/lib/*-linux-gnu")
  set(${name}_ROOT "${dir}" PARENT_SCOPE)
  set(${name}_LOADER "${loader}" --library-path "${libraries}" PARENT_SCOPE)
endfunction()

# ggml and libllama of Debian sid for TESSERA_TEST_GGML: sets TESSERA_LLAMA_LOADER, the loader that a program which looks for them
# is run by, and TESSERA_LLAMA_INCLUDE_DIR. Both are empty if the option is off: such a program finds what is installed.
function(tessera_find_llama)
  set(TESSERA_LLAMA_LOADER "" PARENT_SCOPE)
  set(TESSERA_LLAMA_INCLUDE_DIR "" PARENT_SCOPE)
  if(TESSERA_TEST_GGML)
    tessera_require_sid(llama libllama-dev)
    set(TESSERA_LLAMA_LOADER ${llama_LOADER} PARENT_SCOPE)
    set(TESSERA_LLAMA_INCLUDE_DIR "${llama_ROOT}/usr/include" PARENT_SCOPE)
  endif()
endfunction()
