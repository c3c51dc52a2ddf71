#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# check_includes.sh INCLUDE_DIR: includes point one way, and only the backends name their libraries.
#   ops -> dispatch -> kernels -> {simd, tune} -> core, ref -> core, and ops -> ref
# config.h may be included by all and includes nothing of ours; tessera.h may be included by nobody.
set -euo pipefail
cd "$1/tessera"

awk '
  BEGIN {
    below["config.h"] = " "
    below["core"] = " config.h core "
    below["ref"] = below["core"] "ref "
    below["simd"] = below["core"] "simd "
    below["tune"] = below["core"] "tune "
    below["kernels"] = below["core"] "simd tune kernels "
    below["dispatch"] = below["kernels"] "dispatch "
    below["ops"] = below["dispatch"] "ref ops "
    below["tessera.h"] = below["ops"]
  }
  function wrong(reason) { printf "include/tessera/%s:%d: %s\n", FILENAME, FNR, reason; failed = 1 }
  FNR == 1 {
    layer = FILENAME
    sub(/\/.*/, "", layer)
    if (!(layer in below)) wrong("no layer of this name")
  }
  # Pass headers are included by name of a macro only inside dispatch/.
  /^ *# *include *"tessera\// {
    target = $0
    sub(/.*"tessera\//, "", target)
    sub(/[\/"].*/, "", target)
    if (index(below[layer], " " target " ") == 0) wrong(layer " must not include " target)
  }
  /(^|[^A-Za-z0-9_])hwy::/ && FILENAME !~ /^(simd\/hwy-inl\.h|dispatch\/.*|core\/isa\.h|core\/context\.h)$/ { wrong("hwy:: is named here") }
  /(^|[^A-Za-z0-9_])xsimd::/ && FILENAME != "simd/xsimd-inl.h" { wrong("xsimd:: is named here") }
  END { exit failed }
' $(find . -name '*.h' | sed 's|^\./||' | sort)
