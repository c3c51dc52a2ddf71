#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions per multiply-add on RISC-V vectors of 128 to 1024 bits, of the reference BLAS, OpenBLAS and libtessera_blas.so:
of routines of BLAS, or with --torch of operations of PyTorch over each of the three, whose results are checked.

Takes the other libraries from Debian sid through apt into the build directory, and runs one warm call of each case under
qemu-riscv64 with the plugin of bench/count. Vectors of 0 bits are a core without them.

  examples/blas/count_blas.py [--torch | --only TEXT] [--vlens 128,256] [--build DIR] build/test-riscv64/examples/blas/libtessera_blas.so
"""
import argparse
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.append(str(HERE.parent.parent / "bench/count"))
import count  # noqa: E402

ARCH = "riscv64"
ROUTINES = (  # and their size
    ("sgemm nn", 256), ("dgemm nn", 256), ("strsm llnn", 256), ("ssyrk ln", 256), ("dsyrk ln", 256), ("sgemv n", 512), ("sgemv t", 512),
    ("sgemv n", 250), ("sgemv t", 250), ("dgemv n", 512), ("dgemv t", 512), ("cgemm nn", 128), ("zgemm nn", 128),
)


class Root:
    """Debian's libraries for RISC-V, and how programs are built for them and run with them."""

    def __init__(self, build, name, packages):
        problem = count.fetch(build / name, ARCH, *packages)
        if problem:
            count.fail(problem)
        self.path = build / name
        self.libraries = self.path / f"usr/lib/{ARCH}-linux-gnu"
        self.loader = next(self.path.glob("usr/lib/ld-linux-*.so.?"))

    def build_program(self, source, program, *options):
        """With the loader's libraries at run time only: those of the compiler are older, and what they link is found in newer ones."""
        count.run(["clang++-22", f"--target={ARCH}-linux-gnu", "-std=c++20", "-O2", "-I", count.ROOT, source, "-fuse-ld=lld",
                   "-Wl,--allow-shlib-undefined", *options, "-o", program], f"building {source.name}")

    def command(self, blas, preload=None):
        path = ":".join(str(p) for p in (blas, self.libraries, self.path / "usr/lib", self.libraries / "lapack"))
        return [self.loader, "--inhibit-cache", "--library-path", path, *(["--preload", preload] if preload else [])]


def cases_of(output):
    """(name, instructions per multiply-add, ..) for each line `name operations` and the counts that follow it."""
    cases = []
    for line in output.splitlines():
        if counted := re.match(r"COUNT instructions=(\d+)", line):
            cases[-1].append(2 * int(counted[1]) / operations)
        elif case := re.match(r"(.*\S) +(\d+)$", line):
            cases.append([re.sub(" +", " ", case[1])])
            operations = int(case[2])
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=pathlib.Path, help="libtessera_blas.so for riscv64")
    parser.add_argument("--torch", action="store_true", help="operations of PyTorch")
    parser.add_argument("--only", default="", help='routines with this text in "name size", as "sgemv n 512"')
    parser.add_argument("--vlens", default="128,256,512,1024", help="(128,256,512,1024)")
    parser.add_argument("--build", type=pathlib.Path, help="build directory (build/count-blas)")
    options = parser.parse_args()
    vlens = [int(v) for v in options.vlens.split(",")]
    library = options.library.resolve(strict=True)
    build = (options.build or count.ROOT / "build/count-blas").resolve()
    build.mkdir(parents=True, exist_ok=True)
    plugin = count.build_plugin(build)
    qemu = count.find_qemu(plugin, ARCH)

    blas = ["libblas3", "libopenblas0-pthread", "libstdc++6"]
    root = Root(build, "torch", ["libtorch-dev", *blas]) if options.torch else Root(build, "blas", blas)
    reference, openblas = root.libraries / "blas", root.libraries / "openblas-pthread"
    if options.torch:
        program = build / "torch_count"
        include = root.path / "usr/include"
        root.build_program(HERE / "test/torch_count.cc", program, "-isystem", include, "-isystem", include / "torch/csrc/api/include",
                           root.libraries / "libtorch_cpu.so", root.libraries / "libc10.so")
        runs = [[*root.command(reference), program], [*root.command(openblas), program], [*root.command(reference, library), program]]
    else:
        program = build / "blas_compare"
        root.build_program(HERE / "compare.cc", program)
        libraries = [reference / "libblas.so.3", openblas / "libopenblas.so.0", library]
        runs = [[*root.command(openblas), program, "--count", f"--only={name}", f"--size={size}", *libraries]
                for name, size in ROUTINES if options.only in f"{name} {size}"]

    table = {}  # name: counts of the three for each VLEN
    for vlen in vlens:
        core = count.CORES[ARCH][1](vlen) if vlen else "rv64,v=false"
        for run in runs:
            print(f"VLEN {vlen}:", *run[-5:], file=sys.stderr)
            settings = [arg for name in ("TESSERA", "OPENBLAS", "OMP") for arg in ("-E", f"{name}_NUM_THREADS=1")]
            output = count.run([qemu, "-plugin", plugin, "-cpu", core, *settings, *run], "the program")
            for name, *counts in cases_of(output):
                table.setdefault(name, {}).setdefault(vlen, []).extend(counts)
    names = ("reference", "OpenBLAS", "Tessera")
    print(f"| VLEN {', '.join(str(v) for v in vlens)} | {' | '.join(names)} |\n|---|---|---|---|")
    for name, row in table.items():
        columns = (", ".join(f"{row[vlen][i]:.2g}" for vlen in vlens) for i in range(len(names)))
        print(f"| {name} | {' | '.join(columns)} |")


main()
