#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `#include "tessera/ops/gemm.h"` adds to a compile, in seconds of CPU time.

Compiles a file that calls gemm, and an empty one, with -O2: in compiled mode (declarations only), static (one target)
and header-only (all targets). Fails above 1 s for the first and 10 s for the last.

  bench/compile_time.py [--cxx COMPILER] [--highway DIR] [--repeat N]
"""
import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
CALL = """
#include "tessera/ops/gemm.h"
void multiply(const float* a, const float* b, float* c) {
  tessera::gemm(tessera::row_major(a, {8, 8}), tessera::row_major(b, {8, 8}), tessera::row_major(c, {8, 8}));
}
"""
MODES = (  # name, flags, most seconds
    ("compiled", ["-DTESSERA_COMPILED=1"], 1.0),
    ("static", ["-DTESSERA_STATIC=1"], None),
    ("header-only", [], 10.0),
)


def find_highway():
    """The include directory: an installed package, or what a build of this tree has fetched."""
    if pathlib.Path("/usr/include/hwy/highway.h").exists():
        version = pathlib.Path("/usr/include/hwy/base.h").read_text()
        if "HWY_MAJOR 1" in version and "HWY_MINOR 0" not in version:
            return pathlib.Path("/usr/include")
    found = sorted(ROOT.glob("build/_deps/**/hwy/highway.h"))
    if not found:
        sys.exit("compile_time.py: no Highway; build something here first, or pass --highway DIR")
    return found[-1].parent.parent


def cpu_seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr + "compile_time.py: does not compile")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cxx", default="g++")
    parser.add_argument("--highway", type=pathlib.Path)
    parser.add_argument("--repeat", type=int, default=5, help="the fastest counts")
    options = parser.parse_args()
    highway = options.highway or find_highway()
    missed = False
    with tempfile.TemporaryDirectory() as directory:
        source, empty = pathlib.Path(directory, "call.cc"), pathlib.Path(directory, "empty.cc")
        source.write_text(CALL)
        empty.write_text("")
        base = [options.cxx, "-std=c++20", "-O2", f"-I{ROOT}/include", f"-I{highway}", "-c", "-o", f"{directory}/out.o"]
        fastest = lambda flags, file: min(cpu_seconds(base + flags + [str(file)]) for _ in range(options.repeat))
        nothing = fastest([], empty)
        for name, flags, most in MODES:
            added = fastest(flags, source) - nothing
            late = most is not None and added > most
            missed |= late
            goal = "" if most is None else f"  goal {most:.0f} s" + ("  MISSED" if late else "")
            print(f"{name:12} {added:6.2f} s{goal}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
