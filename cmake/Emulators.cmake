# SPDX-License-Identifier: Apache-2.0
include_guard(GLOBAL)

# Sets <result> to qemu-<arch>: the installed one, else one that is taken through apt into the build tree.
function(tessera_find_qemu arch result)
  set(dir "${TESSERA_DOWNLOAD_DIR}/qemu")
  find_program(TESSERA_QEMU NAMES qemu-${arch} qemu-${arch}-static HINTS "${dir}")
  if(NOT TESSERA_QEMU)
    tessera_apt(unpacked trixie unpack "${dir}.part" qemu-user)  # static binaries since trixie
    if(unpacked_ERROR)
      message(FATAL_ERROR "${arch} tests need qemu-user: not installed, and no apt package (${unpacked_ERROR}). "
        "On Debian: apt-get install qemu-user")
    endif()
    file(GLOB programs "${dir}.part/usr/bin/qemu-riscv64" "${dir}.part/usr/bin/qemu-aarch64")
    file(COPY ${programs} DESTINATION "${dir}")
    file(REMOVE_RECURSE "${dir}.part")
    find_program(TESSERA_QEMU NAMES qemu-${arch} HINTS "${dir}" REQUIRED)
  endif()
  set(${result} "${TESSERA_QEMU}" PARENT_SCOPE)
endfunction()
