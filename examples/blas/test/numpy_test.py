# SPDX-License-Identifier: Apache-2.0
"""Products and factorizations by numpy, with the BLAS that it is linked with and with another before it:
    python3 numpy_test.py save FILE
    LD_PRELOAD=libtessera_blas.so python3 numpy_test.py compare FILE
"""
import sys

import numpy as np


def results():
    random = np.random.default_rng(1)

    def draw(*shape, dtype):
        x = random.standard_normal(shape)
        if np.issubdtype(dtype, np.complexfloating):
            x = x + 1j * random.standard_normal(shape)
        return x.astype(dtype)

    for dtype in (np.float32, np.float64, np.complex64, np.complex128):
        name = np.dtype(dtype).name
        for m, n, k in ((1, 1, 1), (3, 5, 7), (64, 64, 64), (1, 100, 300), (129, 1, 65), (200, 150, 310), (5, 400, 3)):
            a, b = draw(m, k, dtype=dtype), draw(k, n, dtype=dtype)
            key = f"{name} {m}x{n}x{k} "
            yield key + "rows", a @ b, k
            yield key + "columns", np.asfortranarray(a) @ np.asfortranarray(b), k
            yield key + "transposed", (b.T.copy().T.T @ a.T.copy()), k
            yield key + "strided", a[::-1, ::2] @ b[::2, :], k
            yield key + "slice", np.tile(a, (2, 2))[:m, :k] @ b, k
            yield key + "square", a @ a.T, k
            yield key + "conjugate", a.conj().T @ a, m
            yield key + "vector", a @ b[:, 0], k
            yield key + "outer", np.outer(a[:, 0], b[0]), 1
        x = draw(4, 30, 20, dtype=dtype)
        yield name + " batch", x @ x.transpose(0, 2, 1), 20
        square = draw(180, 180, dtype=dtype)
        definite = square @ square.conj().T + 180 * np.eye(180, dtype=dtype)
        yield name + " solve", np.linalg.solve(definite, square), 4000
        yield name + " cholesky", np.linalg.cholesky(definite), 4000
        yield name + " inverse", np.linalg.inv(definite), 4000


def library_of(symbol):
    """The file that has the first `symbol` of this process."""
    import ctypes

    address = ctypes.cast(getattr(ctypes.CDLL(None), symbol), ctypes.c_void_p).value
    for line in open("/proc/self/maps"):
        begin, end = (int(x, 16) for x in line.split()[0].split("-"))
        if begin <= address < end:
            return line.split()[-1]
    return "?"


def main():
    mode, file = sys.argv[1:]
    if mode == "save":
        np.savez(file, **{name: value for name, value, _ in results()})
        return
    if "tessera" not in library_of("cblas_sgemm"):
        sys.exit("cblas_sgemm is that of " + library_of("cblas_sgemm"))
    expected, wrong, count = np.load(file), 0, 0
    for name, value, terms in results():
        count += 1
        scale = np.abs(expected[name]).max()
        error = np.abs(value - expected[name]).max()
        # Terms are of magnitude 1: sums of them are about the root of their number.
        if not error <= 4 * max(terms, 4) * np.finfo(value.dtype).eps * max(scale, 1):
            wrong += 1
            print(f"{name}: off by {error}, of {scale}")
    print(f"{count} results, {wrong} wrong")
    sys.exit(wrong != 0)


main()
