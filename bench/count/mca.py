#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cycles per multiply-add of the register tiles' inner loops on RISC-V cores, predicted by llvm-mca.

Takes the loops that the compiler made, from the library that count.py builds (or any object or archive), and asks
llvm-mca for in-order and out-of-order cores. All loads hit L1. Out-of-order cores reach their peak with every tile;
on in-order cores the order of the loads is worth a fifth.

  bench/count/mca.py [--object FILE] [--cpu NAME=VLEN]... [--match REGEX] [--show]
"""
import argparse
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# VLEN as the core has it (+zvlXb of its -mcpu).
CPUS = {"spacemit-x60": 256, "sifive-p670": 128, "sifive-x280": 512}
BITS = {"float": 32, "double": 64}
FORMS = {"0": "strided", "1": "packed", "2": "in place"}
TILE = re.compile(r"N_RVV::gemm_tile<.*?Products(?:<(float|double)>)?, (\d+), (\d+), (\d+), .*?TileForm\)(\d)")
ITERATIONS = 200


def fail(message):
    sys.exit("mca.py: " + message)


def find_tool(name):
    for candidate in [f"{name}-{version}" for version in (24, 23, 22)] + [name]:
        if path := shutil.which(candidate):
            return path
    fail(f"needs {name} (Debian: llvm-22)")


def functions(objdump, path):
    """Yields (name, [(address, instruction)]) of every function."""
    done = subprocess.run([objdump, "-d", "--no-show-raw-insn", "-C", "--mattr=+v", path], capture_output=True, text=True)
    if done.returncode:
        fail(done.stderr.strip())
    name, code = None, []
    for line in done.stdout.splitlines():
        if header := re.match(r"[0-9a-f]+ <(.*)>:$", line):
            if name:
                yield name, code
            name, code = header.group(1), []
        elif instruction := re.match(r"\s*([0-9a-f]+):\s+(\S.*)$", line):
            code.append((int(instruction.group(1), 16), re.sub(r"\s+", " ", instruction.group(2))))
    if name:
        yield name, code


def main_loop(code):
    """The innermost loop with the most vector multiply-adds."""
    best = []
    for address, text in code:
        jump = re.match(r"(?:b\w+|j) .*?0x([0-9a-f]+) <", text)
        if not jump or not int(jump.group(1), 16) < address:
            continue
        loop = [t for a, t in code if int(jump.group(1), 16) <= a <= address]
        if any(re.match(r"b\w+ |j |ret", t) for t in loop[:-1]):
            continue  # not straight code
        if multiply_adds(loop) > multiply_adds(best):
            best = loop
    return best


def multiply_adds(loop):
    return sum(re.match(r"vfn?m(acc|add|sac|sub)\.", t) is not None for t in loop)


def cycles(mca, cpu, bits, lmul, loop):
    # The loop is entered with vtype set: said by instruments, for there is no vsetvli in it.
    last = re.sub(r"0x[0-9a-f]+ <.*", "0", loop[-1])
    source = "\n".join([f"vsetvli a0, zero, e{bits}, m{lmul}, ta, ma", "# LLVM-MCA-BEGIN",
                        f"# LLVM-MCA-RISCV-LMUL M{lmul}", f"# LLVM-MCA-RISCV-SEW E{bits}", *loop[:-1], last,
                        "# LLVM-MCA-END", ""])
    done = subprocess.run([mca, "--mtriple=riscv64", "-mcpu=" + cpu, "-mattr=+v", f"-iterations={ITERATIONS}",
                           "-instruction-info=0", "-resource-pressure=0"], input=source, capture_output=True, text=True)
    total = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if not total:
        fail(done.stderr.strip())
    return int(total.group(1)) / ITERATIONS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--object", type=pathlib.Path, default=ROOT / "build/count/libtessera.a")
    parser.add_argument("--cpu", action="append", help="a core of llvm-mca and its VLEN, as NAME=VLEN")
    parser.add_argument("--match", default="", help="only functions whose name matches")
    parser.add_argument("--show", action="store_true", help="print the loops")
    options = parser.parse_args()
    cpus = dict(CPUS)
    if options.cpu:
        cpus = {name: int(vlen) for name, vlen in (item.split("=") for item in options.cpu)}
    if not options.object.exists():
        fail(f"no {options.object}: run bench/count/count.py first, or pass --object")
    mca, objdump = find_tool("llvm-mca"), find_tool("llvm-objdump")

    # Only full tiles: the most rows of each (type, vectors, LMUL, form).
    tiles = {}
    for name, code in functions(objdump, options.object):
        tile = TILE.search(name)
        if not tile or not re.search(options.match, name):
            continue
        kind, rows, vectors, lmul, form = tile.group(1), *map(int, tile.groups()[1:4]), tile.group(5)
        loop = main_loop(code)
        key = (kind, lmul, vectors, form)
        if loop and rows > tiles.get(key, (0, None))[0]:
            tiles[key] = (rows, loop)
    if not tiles:
        fail(f"no RVV register tile with a loop in {options.object}")

    print("cycles per multiply-add (cycles per loop)")
    print(f"{'tile':30} {'FMAs':>5} {'all':>5}" + "".join(f" {f'{c}, {v} bits':>24}" for c, v in cpus.items()))
    for (kind, lmul, vectors, form), (rows, loop) in sorted(tiles.items(), key=lambda t: (t[0][0] != "float", t[0])):
        fmas = multiply_adds(loop)
        cells = []
        for cpu, vlen in cpus.items():
            c = cycles(mca, cpu, BITS[kind], lmul, loop)
            cells.append(f"{c / (fmas * lmul * vlen / BITS[kind]):.4f} ({c:.1f})")
        title = f"f{BITS[kind]} {rows}x{vectors} LMUL {lmul}, {FORMS[form]}"
        print(f"{title:30} {fmas:5} {len(loop):5}" + "".join(f" {c:>24}" for c in cells))
        if options.show:
            print("\n".join("    " + t for t in loop))


if __name__ == "__main__":
    main()
