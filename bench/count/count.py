#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions per multiply-add of GEMM on RISC-V vectors of 128 to 1024 bits, or on SVE of 128 to 512, packing
included; of quantized weights, the rounding of activations to 8 bits included; of convolutions, their filters packed
before; of attention, for both of its products, everything included; per number of quantizers, softmax and norms.

Builds count_gemm for the architecture, runs one warm call of each case under qemu with the plugin count_plugin.c, and
prints one table. Fails where sgemm 256^3 on RISC-V takes more than its goal. Emulators don't tell time; they count
exactly.

  bench/count/count.py [--arch riscv64|aarch64] [--only TEXT] [--openblas] [--json FILE] [--build DIR]
"""
import argparse
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# By architecture: vector lengths, and the emulated core of one.
CORES = {
    "riscv64": ((128, 256, 512, 1024), lambda bits: f"rv64,v=true,vext_spec=v1.0,vlen={bits}"),
    "aarch64": ((128, 256, 512), lambda bits: f"max,sme=off,sve-max-vq={bits // 128}"),
}


def conv(types, size, channels, filters, kernel, goals):
    """A convolution as the product that it is; filters None: depthwise. LAYER is what count_gemm calls it."""
    layer = f"{size}x{channels}" + (f"x{filters}" if filters else "") + f":{kernel}"
    depth = kernel * kernel * (channels if filters else 1)
    return "conv-" + types, size * size, filters or channels, depth, goals, layer


def attention(kv, tokens, keys, dim, heads, kv_heads, goals):
    """Multiply-adds of the scores and of the values."""
    return f"attention-{kv}", heads * tokens, keys, 2 * dim, goals, f"{tokens}x{keys}:{dim}:{heads}/{kv_heads}"


CASES = (  # type, m, n, k, most instructions per multiply-add at each VLEN; of others than products their shape
    ("f32", 256, 256, 256, (0.18, 0.09, 0.045, 0.025)),
    ("f64", 256, 256, 256, None),
    ("s8", 256, 256, 256, None),
    ("bf16", 256, 256, 256, None),
    ("f16", 256, 256, 256, None),
    ("f32", 8, 256, 256, None),
    ("f64", 8, 256, 256, None),
    ("f32", 1, 1024, 1024, (0.15, 0.09, 0.055, 0.04)),
    *((weights, m, 512, 512, None) for weights in ("Q8_0", "Q4_0", "Q4_K", "Q6_K", "MXFP4") for m in (1, 8)),
    ("quantize-Q8_0", 64, 1, 512, None),
    conv("f32", 28, 64, 64, 3, (0.17, 0.09, 0.045, 0.03)),
    conv("f32", 28, 64, 64, 1, None),
    conv("f32", 28, 64, None, 3, None),
    conv("fast", 28, 64, 64, 3, None),
    conv("s8", 28, 64, 64, 3, (None, 0.3, None, None)),
    conv("s8", 28, 64, 64, 1, None),
    conv("s8", 28, 64, None, 3, None),
    attention("f32", 128, 128, 64, 4, 4, (None, 0.2, None, None)),
    attention("f16", 1, 1024, 128, 8, 2, (None, 0.4, None, None)),
    attention("f16", 1, 1024, 128, 2, 2, None),
    attention("q8_0", 1, 1024, 128, 8, 2, None),
    ("softmax", 32, 1, 1024, (None, 1.5, None, None)),
    ("rms_norm", 32, 1, 1024, (None, 0.7, None, None)),
    ("layer_norm", 32, 1, 1024, None),
)


def fail(message):
    sys.exit("count.py: " + message)


def run(command, what):
    """Runs a command quietly; shows its output only when it fails."""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.stdout.write(done.stdout)
        fail(what + " failed")
    return done.stdout


def build_program(build, arch):
    # Dynamic, unlike the tests' static binaries: it may load a BLAS.
    run(["cmake", "-S", ROOT, "-B", build, "--toolchain", ROOT / f"cmake/toolchains/{arch}.cmake",
         "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_EXE_LINKER_FLAGS=-fuse-ld=lld -static-libstdc++ -static-libgcc", "-DTESSERA_BUILD_BENCH=ON",
         "-DTESSERA_BUILD_TESTS=OFF", "-DTESSERA_BUILD_EXAMPLES=OFF", "-DTESSERA_BUILD_PORTS=OFF", "-DTESSERA_INSTALL=OFF",
         "-DTESSERA_DOWNLOAD_DIR=" + str(ROOT / "build/_deps")], "configuring")
    print("building", file=sys.stderr)
    run(["cmake", "--build", build, "--target", "count_gemm", "--parallel", "2"], "the build")
    return build / "bench/count_gemm"


def build_plugin(build):
    plugin = build / "libcount.so"
    run(["cc", "-O2", "-shared", "-fPIC", HERE / "count_plugin.c", "-o", plugin], "building the plugin")
    return plugin


def find_qemu(plugin, arch):
    qemu = shutil.which("qemu-" + arch)
    if not qemu:
        fail(f"needs qemu-{arch} (Debian: qemu-user)")
    probe = subprocess.run([qemu, "-plugin", plugin, "/nonexistent"], capture_output=True, text=True)
    if "plugin" in probe.stderr:
        fail(f"{qemu} does not take the plugin: {probe.stderr.strip()} (Debian 12's qemu-user 7.2 does)")
    return qemu


def fetch(root, arch, *packages):
    """Debian sid's packages for `arch` and all that they need, unpacked into `root` without touching the system. Returns what
    went wrong, or nothing."""
    if (root / "done").exists():
        return ""
    print(f"fetching {', '.join(packages)} for {arch}", file=sys.stderr)
    done = subprocess.run([ROOT / "cmake/apt-private", root.parent / "apt", "sid", "tree", root, *packages],
                          env=os.environ | {"APT_PRIVATE_ARCH": {"aarch64": "arm64"}.get(arch, arch)},
                          capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["?"])[-1]
    (root / "lib").symlink_to("usr/lib")  # where programs look for their dynamic linker
    (root / "done").touch()
    return ""


def fetch_openblas(build, arch):
    """A root with OpenBLAS for `arch`, and the path of the library in it."""
    root = build / "openblas"
    problem = fetch(root, arch, "libopenblas0-pthread")
    if problem:
        print(f"openblas: not fetched ({problem})")
        return None, None
    libraries = sorted(root.glob(f"usr/lib/{arch}-linux-gnu/openblas-pthread/libopenblas.so.0"))
    if not libraries:
        print("openblas: the fetched package has no libopenblas.so.0")
        return None, None
    return root, "/" + str(libraries[0].relative_to(root))


def count(qemu, plugin, sysroot, program, core, case, library=None):
    kind, m, n, k, _, *layer = case
    command = [qemu, "-L", sysroot, "-E", "OPENBLAS_NUM_THREADS=1", "-plugin", plugin,
               "-cpu", core, program, kind, *(layer or (m, n, k))]
    done = subprocess.run([str(c) for c in command + ([library] if library else [])], capture_output=True, text=True)
    match = re.search(r"^COUNT (.*)$", done.stderr, re.MULTILINE)
    if done.returncode or not match:
        reason = (re.findall(r"^CHECK (.*)$", done.stderr, re.MULTILINE) or done.stderr.strip().splitlines() or ["?"])[-1]
        return {"error": reason}
    macs = m * n * k
    return {name: int(value) / macs for name, value in re.findall(r"(\w+)=(\d+)", match.group(1))}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=CORES, default="riscv64", help="(riscv64)")
    parser.add_argument("--build", type=pathlib.Path, help="build directory (build/count-ARCH)")
    parser.add_argument("--only", default="", help='cases with this text in "kind mxnxk", as Q4_0')
    parser.add_argument("--openblas", action="store_true", help="also count Debian's OpenBLAS for it")
    parser.add_argument("--json", type=pathlib.Path, help="also write every count there")
    options = parser.parse_args()
    lengths, core = CORES[options.arch]
    build = (options.build or ROOT / f"build/count-{options.arch}").resolve()
    build.mkdir(parents=True, exist_ok=True)

    plugin = build_plugin(build)
    qemu = find_qemu(plugin, options.arch)
    program = build_program(build, options.arch)
    contenders = [("tessera", pathlib.Path(f"/usr/{options.arch}-linux-gnu"), None)]
    if options.openblas:
        root, library = fetch_openblas(build, options.arch)
        if root:
            contenders.append(("openblas", root, library))

    print("\ninstructions per multiply-add; in brackets vector work, in registers per multiply-add")
    print(f"{'':9} {'':14} {'m x n x k':15}" + "".join(f" {str(v) + ' bits':>17}" for v in lengths))
    results, misses = [], []
    for case in CASES:
        kind, m, n, k, goals, *layer = case
        shape = layer[0] if layer else f"{m}x{n}x{k}"
        if options.only not in f"{kind} {shape}":
            continue
        for name, sysroot, library in contenders:
            if library and kind not in ("f32", "f64"):
                continue  # no BLAS has it
            cells = []
            for i, vlen in enumerate(lengths):
                counts = count(qemu, plugin, sysroot, program, core(vlen), case, library)
                results.append({"contender": name, "type": kind, "m": m, "n": n, "k": k, "shape": shape,
                                "vlen": vlen, **counts})
                if "error" in counts:
                    cells.append("wrong")
                    print(f"{name} {kind} {shape} VLEN {vlen}: {counts['error']}", file=sys.stderr)
                    if name == "tessera":
                        misses.append(f"{kind} {shape} VLEN {vlen}: {counts['error']}")
                    continue
                cells.append(f"{counts['instructions']:.4f} ({counts['vuops']:.4f})")
                if name == "tessera" and options.arch == "riscv64" and goals and counts["instructions"] > (goals[i] or math.inf):
                    misses.append(f"{kind} {shape} VLEN {vlen}: {counts['instructions']:.4f}, goal {goals[i]:.3g}")
            print(f"{name:9} {kind:14} {shape:15}" + "".join(f" {c:>17}" for c in cells), flush=True)
        if goals and options.arch == "riscv64":
            print(f"{'goal':9} {kind:14} {shape:15}" + "".join(f" {f'{g:.3g}' if g else '':17}" for g in goals))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    for miss in misses:
        print("missed: " + miss)
    return 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
