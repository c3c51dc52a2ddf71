#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# digest_table.sh DIR...: one table of the digests that the reproducibility tests of several runs left, a file for
# each run with lines "<case>/<target> <digest>". Fails if the digests of a case are not all the same, apart from
# those of targets without fused multiply-add (marked *), or if there are none.
set -euo pipefail
files=$(find "$@" -type f | sort)
[ -n "$files" ] || { echo "no digests in $*" >&2; exit 1; }
awk '
  {
    target = $1; sub(/.*\//, "", target)
    item = $1; if (!sub(/\/[^\/]*$/, "", item)) item = "digest"
    run = FILENAME; sub(/.*\//, "", run)
    if (!(item in seen)) { seen[item] = 1; items[++columns] = item }
    row = sprintf("%-24s %-14s", run, target)
    if (!(row in known)) { known[row] = 1; rows[++count] = row }
    fma = target !~ /^(xsimd_)?s?sse[234]/
    cell[row, item] = $2 (fma ? "" : "*")
    if (!fma) next
    if (!(item in common)) common[item] = $2
    if (common[item] != $2) { cell[row, item] = $2 " DIFFERS"; failed = 1 }
  }
  END {
    printf "%-24s %-14s", "run", "target"
    for (c = 1; c <= columns; ++c) printf " %-18s", items[c]
    print ""
    for (r = 1; r <= count; ++r) {
      printf "%s", rows[r]
      for (c = 1; c <= columns; ++c) printf " %-18s", cell[rows[r], items[c]]
      print ""
    }
    print failed ? "digests differ between targets with fused multiply-add" : "the same digests on all targets with fused multiply-add"
    exit failed
  }
' $files
