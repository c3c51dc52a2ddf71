#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# check_inner_loop.sh OBJECT_OR_ARCHIVE_OR_PROGRAM REGEX...
# For every function of it whose demangled name matches a regular expression: the innermost loops that
# hold at least 8 fused multiply-adds must not touch the stack. One spilled accumulator halves a kernel's speed.
# Fails also where an expression matches no function, or no such loop is in any of its functions.
set -euo pipefail
object=$1
shift
# GNU objdump of Debian 12 knows this machine only; LLVM's knows all.
llvm=$(compgen -c llvm-objdump | sort -V | tail -n 1) || true
case $(LC_ALL=C readelf -h "$object" | sed -n 's/.*Machine: *//p' | uniq) in
  *X86-64*) tool=(objdump) ;;
  RISC-V) tool=("$llvm" --mattr=+v) ;;
  AArch64) tool=("$llvm" --mattr=+sve2) ;;
esac
[ -n "${tool[0]-}" ] || { echo "check_inner_loop.sh: needs llvm-objdump (Debian: llvm-22)" >&2; exit 1; }
listing=$(mktemp)
trap 'rm -f "$listing"' EXIT
"${tool[@]}" -d --no-show-raw-insn -C "$object" >"$listing"

status=0
for regex; do
  REGEX=$regex awk '
    function hex(text,   value, i) {
      for (value = i = 0; i++ < length(text);) value = value * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
      return value
    }
    # Does instruction i of the function read or write the stack?
    function on_stack(i) {
      return text[i] ~ /\(%rsp|\(sp\)|\[sp[],]/ || (frame_pointer && text[i] ~ /\(%rbp|\(s0\)|\[x29[],]/) ||
             text[i] ~ /^v[ls][1248]re?[0-9]*\.v/  # whole registers: how RVV spills
    }
    # A loop reaches from the target of a backward jump to the jump. (With a return in between it is none: the
    # jump goes to an epilogue that several paths share.)
    function find_loops(   i, j, fma) {
      loops = 0
      for (i = 0; i < count; ++i) {
        if (!(jump[i] in at) || at[jump[i]] > i) continue
        fma = 0
        for (j = at[jump[i]]; j <= i && text[j] !~ /^ret/; ++j) fma += text[j] ~ /^(vfn?m(add|acc|sub)|fml[as] |fmad )/
        if (j > i && fma >= 8) { first[loops] = at[jump[i]]; last[loops] = i; fmas[loops] = fma; ++loops }
      }
    }
    function is_innermost(i,   j) {
      for (j = 0; j < loops; ++j) if (first[j] >= first[i] && last[j] <= last[i] && last[j] - first[j] < last[i] - first[i]) return 0
      return 1
    }
    function check(   i, j, spills, example) {
      if (!count) return
      functions++
      find_loops()
      for (i = 0; i < loops; ++i) {
        if (!is_innermost(i)) continue
        checked++
        spills = 0
        for (j = first[i]; j <= last[i]; ++j) if (on_stack(j) && !spills++) example = text[j]
        if (spills) printf "%s\n  a loop of %d FMAs touches the stack %d times, first: %s\n", name, fmas[i], spills, example
        bad += spills
      }
    }
    function clear() { split("", at); split("", text); split("", jump); count = frame_pointer = 0 }
    /^[0-9a-f]+ <.*>:$/ {
      check(); clear()
      name = $0; sub(/^[0-9a-f]+ </, "", name); sub(/>:$/, "", name)
      active = name ~ ENVIRON["REGEX"]
      next
    }
    active && /^ *[0-9a-f]+:/ {
      address = $1; sub(/:$/, "", address)
      line = $0; sub(/^ *[0-9a-f]+:[ \t]*/, "", line); gsub(/[ \t]+/, " ", line)
      text[count] = line
      at[hex(address)] = count
      jump[count] = ""
      # Jumps end in their target: "jne 4f0 <name+0x10>", "bne a0, a1, 0x4f0 <name+0x10>", "b.ne 0x4f0 <...>".
      if (line ~ /^(j|b|cb|tb)[a-z.]* / && match(line, /(0x)?[0-9a-f]+ <[^>]*(>.*)?$/)) {
        target = substr(line, RSTART); sub(/ .*/, "", target); sub(/^0x/, "", target)
        jump[count] = hex(target)
      }
      if (line ~ /^mov %rsp,%rbp|^mv s0, ?sp|^addi s0, sp|^(mov|add) x29, sp/) frame_pointer = 1
      ++count
    }
    END {
      check()
      printf "%s: %d functions, %d inner loops, %d stack accesses\n", ENVIRON["REGEX"], functions, checked, bad
      exit !(functions && checked && !bad)
    }
  ' "$listing" || status=1
done
exit $status
