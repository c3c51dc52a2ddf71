# SPDX-License-Identifier: Apache-2.0
"""Tables, pictures and pages from what gemm_compare, weights_compare, conv_compare, network_compare, attention_compare,
nn_compare and gemm_sweep have measured; bench/compare calls it."""
import math
import re
import statistics
from html import escape

import plot

OURS = "tessera"
COLORS = {OURS: "#d6215b", "openblas": "#1f6fb4", "blis": "#63b3e0", "onednn": "#e08a00", "onednn-rounding": "#c9b000",
          "eigen": "#2a9d4e", "xnnpack": "#7b4bb7", "libxsmm": "#8c5a33", "ggml": "#6b7280", "onnxruntime": "#00a0a0"}
OTHERS = ("#b39ddb", "#90a4ae", "#a5a533", "#ef9a9a")  # variants, libraries given by name
GROUPS = {"square": "squares", "decode": "decode: one token", "batch": "batch: eight tokens",
          "prefill": "prefill: 128 and 512 tokens", "conv": "convolutions of ResNet-50 as im2col", "given": "given"}
TYPES = {"f32": "f32", "f64": "f64", "s8": "s8 x s8 -> s32", "bf16": "f32 x bf16 weights -> f32",
         "f16": "f32 x f16 weights -> f32"}
RIGHT = ("ok", "exact")  # a result that a ratio may be taken of
NOTES = {"rounds A": "~", "rounds": "~", "saturates": "!", "wrong": "!!"}
FORMATS = {"FP8": "FP8, a scale per 128 x 128", "S4": "4 bits, a scale per row", "S8": "8 bits, a scale per row"}
WEIGHT_COLORS = {"ggml repack": "#111827", "ggml amx": "#94c11f", "memcpy": "#b0b0b0"}
CLIFF = 1.3


def color_of(name):
    return COLORS.get(name) or OTHERS[sum(map(ord, name)) % len(OTHERS)]


def speed_unit(types):
    return "GOP/s" if types == "s8" else "GFLOP/s"


class Case:
    """One product: who was how fast."""

    def __init__(self, record):
        self.record, self.types, self.group = record, record["types"], record["group"]
        self.m, self.n, self.k = record["m"], record["n"], record["k"]
        self.flops = 2.0 * self.m * self.n * self.k
        self.results = record["results"]
        self.memory_bound = self.m == 1

    @property
    def label(self):
        r = self.record
        return f"{self.m}x{self.n}x{self.k}" + (" B^T" if r["b_transposed"] else "") + (" cold" if r["cold"] else "")

    @property
    def unit(self):
        return "GB/s" if self.memory_bound else speed_unit(self.types)

    def speed(self, result):
        return result["gb_per_second"] if self.memory_bound else result["gflops"]

    @property
    def limit(self):
        """What the core, or for cold operands the memory, can do at most; None where neither is the limit."""
        r = self.record
        if r["cold"]:
            return r["read_gb_per_second"]
        return None if self.memory_bound or self.types == "s8" else r["peak_gflops"]

    def find(self, name, packed):
        return next((r for r in self.results if r["name"] == name and r["packed"] == packed), None)

    def best_peer(self, packed, verdicts=RIGHT):
        """The fastest result of anybody else that is right; packed: of both kinds, otherwise of B as it is only."""
        peers = [r for r in self.results if r["name"] in COLORS and r["name"] != OURS and r["verdict"] in verdicts and
                 (packed or not r["packed"])]
        return min(peers, key=lambda r: r["seconds"], default=None)

    def ratio(self, packed, verdicts=RIGHT):
        """How many times as fast as the best peer, and who that is: the median over the rounds."""
        ours, peer = self.find(OURS, packed), self.best_peer(packed, verdicts)
        if ours is None or ours["verdict"] not in RIGHT or peer is None:
            return None, peer and peer["name"]
        return (statistics.median(b / a for a, b in zip(ours["samples"], peer["samples"])), peer["name"])

    def best_of_ours(self):
        ours = [r for r in self.results if r["name"] == OURS]
        return min(ours, key=lambda r: r["seconds"], default=None)


def mean_ratio(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios)))


def table(header, rows):
    """Markdown; the first column to the left, numbers to the right."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def cell(case, result):
    if result is None:
        return ""
    return plot.number(case.speed(result)) + (" " + NOTES[result["verdict"]] if result["verdict"] in NOTES else "")


def machine_lines(machine):
    peak, reads = machine["peak_gflops"], machine["read_gb_per_second"]
    threads = machine["threads"]
    yield (f"{machine['processor']}, target {machine['target']}, {machine['compiler']}, "
           f"{threads} thread{'s' if threads > 1 else ''}")
    yield f"One core: {peak['f32']:.0f} GFLOP/s in f32, {peak['f64']:.0f} in f64; reads " + ", ".join(
        f"{level} {speed:.0f}" for level, speed in reads.items()) + " GB/s"


def summary_rows(cases):
    rows = []
    for types in TYPES:
        for group, title in GROUPS.items():
            chosen = [c for c in cases if c.types == types and c.group == group]
            ratios = {packed: [(c.ratio(packed)[0], c) for c in chosen if c.ratio(packed)[0]] for packed in (False, True)}
            if not ratios[False] and not ratios[True]:
                continue
            row = [f"{types} {title}", str(len(chosen))]
            for packed in (False, True):
                values = [r for r, _ in ratios[packed]]
                if values:
                    worst, where = min(ratios[packed], key=lambda pair: pair[0])
                    row += [f"{mean_ratio(values):.2f}", f"{sum(v >= 1 for v in values)}", f"{worst:.2f} at {where.label}"]
                else:
                    row += ["", "", ""]
            rows.append(row)
    return rows


SUMMARY_HEADER = ("", "cases", "ratio, B as it is", "won", "worst", "ratio, B packed", "won", "worst")


def ratio_text(pair):
    ratio, peer = pair
    return f"{ratio:.2f} ({peer})" if ratio else peer or ""


def case_tables(cases):
    """(title, header, rows) for each kind of types and group."""
    for types in TYPES:
        for group, title in GROUPS.items():
            chosen = [c for c in cases if c.types == types and c.group == group]
            if not chosen:
                continue
            names = list(dict.fromkeys(r["name"] for c in chosen for r in c.results))
            columns = [(name, packed) for name in names for packed in (False, True)
                       if any(c.find(name, packed) for c in chosen)]
            header = ["m x n x k", "limit"] + [name + (" packed" if packed else "") for name, packed in columns]
            rounding = any(r["verdict"] == "rounds A" for c in chosen for r in c.results)
            header += ["ratio", "ratio packed"] + ["ratio packed, A rounded"] * rounding
            rows = []
            for c in chosen:
                limit = f"{plot.number(c.limit)} {c.unit}" if c.limit else c.unit
                rows.append([c.label, limit] + [cell(c, c.find(*column)) for column in columns] +
                            [ratio_text(c.ratio(packed)) for packed in (False, True)] +
                            [ratio_text(c.ratio(True, RIGHT + ("rounds A",)))] * rounding)
            yield f"{TYPES[types]}: {title}", header, rows


EXPLANATION = """Speeds are medians over rounds in which all contenders took turns, in GFLOP/s, or in GB/s for products \
of one row, counting the bytes that must be moved at least. The limit is that of multiply-adds in registers, or, where \
the operands are cold, of streaming reads from memory, both measured in the same rounds. Ratios say how many times as \
fast as the best peer Tessera is (above 1: faster); "packed" means that B is reordered before the clock starts, and its \
ratio is to the best of all peers, packed or not. B^T: B is stored as [n, k]. Cold: the caches are flushed before each \
call. Results are checked on operands of all magnitudes: `~` rounds A to 16 bits, `!` saturates with bytes of all values \
(right with those of 7 bits), `!!` is wrong; results so marked are left out of the ratios, but for the last column where \
there are peers that round A."""


def checks_rows(cases, contenders):
    """Who was right, by types."""
    rows = []
    for contender in contenders:
        row = [contender["name"] + (" packed" if contender["packed"] else "")]
        for types in TYPES:
            verdicts = [r["verdict"] for c in cases if c.types == types
                        for r in [c.find(contender["name"], contender["packed"])] if r]
            counts = [f"{v} {verdicts.count(v)}" for v in dict.fromkeys(verdicts)]
            row.append(", ".join(counts))
        if any(row[1:]):
            rows.append(row)
    return rows


def pictures(cases):
    """(file name, SVG)"""
    for types in TYPES:
        chosen = [c for c in cases if c.types == types]
        if not chosen:
            continue
        squares = sorted((c for c in chosen if c.group == "square"), key=lambda c: c.n)
        if len(squares) > 1:
            yield f"square_{types}.svg", square_picture(types, squares)
        for group in ("decode", "batch", "prefill", "conv", "given"):
            members = [c for c in chosen if c.group == group]
            for unit in (speed_unit(types), "GB/s"):
                rows = [c for c in members if c.unit == unit]
                if rows:
                    name = f"{group}_{types}" + ("_rows" if unit == "GB/s" and group == "given" else "")
                    yield f"{name}.svg", group_picture(types, group, rows, unit)
        groups = []
        for group, title in GROUPS.items():
            entries = [(c.label, *c.ratio(False), *c.ratio(True)) for c in chosen if c.group == group]
            entries = [e for e in entries if e[1] or e[3]]
            if entries:
                groups.append((title, entries))
        if groups:
            yield f"ratio_{types}.svg", plot.ratio_rows(f"{TYPES[types]}: Tessera and the best peer", COLORS[OURS], groups)


def square_picture(types, squares):
    panels = []
    for packed in (False, True):
        names = list(dict.fromkeys(r["name"] for c in squares for r in c.results if r["packed"] == packed))
        series = [(name, color_of(name), name == OURS,
                   [(c.n, r["gflops"]) for c in squares for r in [c.find(name, packed)] if r and r["verdict"] != "wrong"])
                  for name in names]
        panels.append(("B packed before" if packed else "B as it is", series))
    peak = statistics.median(c.record["peak_gflops"] for c in squares)
    limit = None if types == "s8" else ("peak" if types in ("f32", "f64") else "f32 peak", peak)
    return plot.line_panels(f"{TYPES[types]}: squares", "m = n = k", speed_unit(types), panels, limit)


def group_picture(types, group, cases, unit):
    rows = [(c.label, c.limit, [(r["name"], color_of(r["name"]), r["packed"], r["name"] == OURS, c.speed(r))
                                for r in c.results if r["verdict"] != "wrong"]) for c in cases]
    limit = "; bar: what memory can be read with" if any(c.record["cold"] for c in cases) else \
        "; bar: multiply-adds in registers" if rows[0][1] else ""
    return plot.dot_rows(f"{TYPES[types]}: {GROUPS[group]}", unit + limit, rows)


def roofline_picture(types, cases, machine):
    points = []
    for c in cases:
        ours, peer = c.best_of_ours(), c.best_peer(True)
        if ours or peer:
            points.append((f"{c.group} {c.label}", c.flops / c.record["bytes"], ours and ours["gflops"],
                           peer and peer["gflops"]))
    peak = statistics.median(c.record["peak_gflops"] for c in cases)
    cold = [c.record["read_gb_per_second"] for c in cases if c.record["cold"]]
    reads = machine["read_gb_per_second"]
    slopes = [("memory", statistics.median(cold) if cold else reads["DRAM"])]
    # Of one core each; for more threads only memory was measured.
    if machine["threads"] == 1:
        slopes += [(level, reads[level]) for level in ("L3", "L2", "L1") if level in reads]
    name = "peak" if types in ("f32", "f64") else "peak of f32"
    return plot.roofline(f"{TYPES[types]}: roofline", COLORS[OURS], (name, peak), slopes, points, speed_unit(types))


class WeightsCase:
    """One product with quantized weights, or one conversion: who was how fast."""

    def __init__(self, record):
        self.record, self.kind, self.results = record, record["kind"], record["results"]
        self.format = FORMATS.get(record["format"], record["format"])
        self.m, self.n, self.k, self.cold = record["m"], record["n"], record["k"], record["cold"]

    @property
    def label(self):
        shape = f"{self.m}x{self.n}x{self.k}" if self.kind == "product" else self.kind
        return f"{self.record['format']} {shape}" + (" cold" if self.cold else "")

    @property
    def unit(self):
        return "GB/s" if self.cold else "GOP/s"

    @property
    def limit(self):
        return self.record["read_gb_per_second"] if self.cold else None

    def speed(self, result):
        work = self.record["bytes"] if self.cold else 2.0 * self.m * self.n * self.k
        return 1e-9 * work / result["seconds"]

    def best(self, ours, rounded):
        """The fastest right result of ours or of the peers; rounded: those that round activations as well."""
        right = [r for r in self.results if (r["name"] == OURS) == ours and r["name"] != "memcpy" and
                 r["verdict"] != "wrong" and (rounded or not r["rounded"])]
        return min(right, key=lambda r: r["seconds"], default=None)

    def ratio(self, rounded):
        """How many times as fast as the best peer, and who that is: the median over the rounds."""
        ours, peer = self.best(True, rounded), self.best(False, rounded)
        if ours is None or peer is None:
            return None, peer and series_of(peer)
        return statistics.median(b / a for a, b in zip(ours["samples"], peer["samples"])), series_of(peer)


def label_of(result):
    return f"{result['name']} {result['mode']}".strip()


def series_of(result):
    """Name and way, whether activations are rounded left out."""
    return " ".join(word for word in label_of(result).split() if word not in ("f32", "int8"))


WEIGHTS_KINDS = ("activations as f32", "activations rounded to 8 bits")
WEIGHTS_EXPLANATION = """Weights [n, k] in the formats of GGUF, or of integers or 8-bit floats with scales beside them, all \
quantized by Tessera; every contender reorders them as it likes before the clock starts. Speeds are medians over rounds in \
which all took turns: operations per second, or, of one row out of cold caches, bytes of the weights in their own format \
per second, beside what memory can be read with in the same rounds. f32: activations are multiplied as they are; int8: \
each call rounds them to 8 bits with a scale per 32 or 256 elements or per row, which its time includes (Tessera: 256, or \
the row where weights have scales per row). Results are checked against sums in f64: `~` is within what that rounding \
explains, `!!` is wrong, which leaves the ratios out. Ratios: how many times as fast as the best peer Tessera is, each at \
its best; those of f32 are between contenders that round nothing."""


def weights_summary(products):
    """Formats by rows of A: the ratio of the best to the best."""
    rows = list(dict.fromkeys(c.m for c in products))
    for name in dict.fromkeys(c.format for c in products):
        cells = [next((ratio_text(c.ratio(True)) for c in products if c.format == name and c.m == m), "") for m in rows]
        yield [name] + cells


def weights_table(cases):
    labels = list(dict.fromkeys(label_of(r) for c in cases for r in c.results))
    labels.sort(key=lambda label: label.startswith("memcpy"))
    products = cases[0].kind == "product"
    ratios = {"ratio f32": False, "ratio": True} if products else {"ratio": True}
    limited = any(c.limit for c in cases)
    rows = []
    for c in cases:
        limit = f"{plot.number(c.limit)} {c.unit}" if c.limit else c.unit
        of, ours = {label_of(r): r for r in c.results}, c.best(True, True)
        share = f"{100 * c.speed(ours) / c.limit:.0f} %" if c.limit and ours else ""
        rows.append([c.label, limit] + [cell(c, of.get(label)) for label in labels] + [share] * limited +
                    [ratio_text(c.ratio(rounded)) for rounded in ratios.values()])
    return ["format, m x n x k" if products else "conversion", "limit"] + labels + ["of limit"] * limited + list(ratios), rows


def weights_picture(title, cases):
    color = lambda name: WEIGHT_COLORS.get(name) or color_of(name)
    rows = [(c.label, c.limit, [(series_of(r), color(series_of(r)), r["rounded"], r["name"] == OURS, c.speed(r))
                                for r in c.results if r["verdict"] != "wrong"]) for c in cases]
    unit = cases[0].unit + ("; bar: what memory can be read with" if cases[0].limit else "")
    return plot.dot_rows(title, unit, rows, kinds=WEIGHTS_KINDS if cases[0].kind == "product" else ())


def weights_parts(records):
    """(heading, header, rows) and (file name, SVG) of products and conversions."""
    cases = [WeightsCase(r) for r in records]
    products = [c for c in cases if c.kind == "product"]
    conversions = [c for c in cases if c.kind != "product"]
    tables, drawn = [], {}
    if products:
        columns = [f"m = {m}" for m in dict.fromkeys(c.m for c in products)]
        tables.append(("Quantized weights: ratio to the best peer", ["format"] + columns, list(weights_summary(products))))
        tables.append(("Quantized weights: products", *weights_table(products)))
        groups = [(name, [(c.label, *c.ratio(False), *c.ratio(True)) for c in products if c.format == name])
                  for name in dict.fromkeys(c.format for c in products)]
        groups = [(name, [e for e in entries if e[1] or e[3]]) for name, entries in groups]
        groups = [g for g in groups if g[1]]
        if groups:
            drawn["ratio_weights.svg"] = plot.ratio_rows("Quantized weights: Tessera and the best peer", COLORS[OURS], groups,
                                                         ("nobody rounds activations", "everybody at their best"),
                                                         "best peer of either kind")
        for name, title, cold in (("decode", "one token", True), ("batch", "several tokens", False)):
            chosen = [c for c in products if c.cold == cold]
            if chosen:
                drawn[f"{name}_weights.svg"] = weights_picture(f"Quantized weights: {title}", chosen)
    if conversions:
        tables.append(("Conversions of quantized weights, GB/s read and written", *weights_table(conversions)))
        drawn["conversions_weights.svg"] = weights_picture("Conversions of quantized weights", conversions)
    return tables, drawn


CONVS = {"f32": "f32", "fast": "f32, any order of sums", "s8": "s8 x s8 -> s8, a scale per channel"}
CONV_EXPLANATION = """Convolutions of one image, of square images and filters, named as size x channels (x filters), extent of the filters, \
stride; padded by half of that extent; without a number of filters: depthwise. Weights are reordered before the clock \
starts. Activations are [h, w, channels]; libraries that only have [channels, h, w] (onnxruntime in f32, ggml) get and \
give that instead, and onnxruntime u8 for s8, at no cost. Speeds are medians over rounds in which all took turns, in \
operations per second of the sums as they are defined, also where Winograd's algorithm needs fewer. Results are \
checked against sums in f64, integers exactly: `!!` is wrong, which leaves the ratios out. Ratio: how many times as \
fast as the best peer Tessera is, then as each of them."""


class ConvCase:
    """One convolution, or one whole network: who was how fast."""
    right, limit = RIGHT, None

    def __init__(self, record):
        self.record, self.types, self.results = record, record.get("types"), record["results"]

    @property
    def label(self):
        return self.record.get("layer") or self.record["network"]

    def speed(self, result):
        return 1e-9 * self.record["flops"] / result["seconds"]

    def find(self, name):
        return next((r for r in self.results if r["name"] == name), None)

    def ratio(self, name=None):
        """How many times as fast as that peer, or as the best, and who that is: the median over the rounds."""
        right = [r for r in self.results if r["name"] not in (OURS, "memcpy") and r["verdict"] in self.right and
                 name in (None, r["name"])]
        ours, peer = self.find(OURS), min(right, key=lambda r: r["seconds"], default=None)
        if ours is None or ours["verdict"] not in RIGHT or peer is None:
            return None, peer and peer["name"]
        return statistics.median(b / a for a, b in zip(ours["samples"], peer["samples"])), peer["name"]


def conv_table(cases, first="layer"):
    names = list(dict.fromkeys(r["name"] for c in cases for r in c.results))
    peers = [name for name in names if name not in (OURS, "memcpy")]
    limited, detailed = any(c.limit for c in cases), any("details" in r for c in cases for r in c.results)
    rows = []
    for c in cases:
        ratios, ours = [c.ratio(name)[0] for name in peers], c.find(OURS)
        share = f"{100 * c.speed(ours) / c.limit:.0f} %" if c.limit and ours else ""
        details = [(c.find("onednn") or {}).get("details", "")] if detailed and "onednn" in names else []
        rows.append([c.label] + [plot.number(c.limit) if c.limit else ""] * limited +
                    [cell(c, c.find(name)) for name in names] + [share] * limited + [ratio_text(c.ratio())] +
                    [f"{ratio:.2f}" if ratio else "" for ratio in ratios] + details)
    kernel = ["oneDNN's kernel"] if detailed and "onednn" in names else []
    return ([first] + ["limit"] * limited + names + ["of limit"] * limited + ["ratio"] + ["to " + name for name in peers] +
            kernel, rows)


NETWORKS_EXPLANATION = """Whole networks on one image, f32, with random weights in the shapes of real ones: an SSD on MobileNet V1 of \
512 x 512, and a ResNet of 29 layers for faces of 150 x 150. Tessera is called layer by layer, on packed filters and \
[h, w, channels]; onnxruntime gets one model of [channels, h, w], and optimizes it before the clock starts. All outputs are \
checked against those of f64. Speeds are medians over rounds in which all took turns."""


def network_tables(records):
    """(heading, header, rows)"""
    cases = [ConvCase(r) for r in records]
    return [("Networks: f32, GFLOP/s", *conv_table(cases, "network"))] if cases else []


def conv_parts(records):
    """(heading, header, rows) and (file name, SVG) of convolutions."""
    cases = [ConvCase(r) for r in records]
    tables, drawn = [], {}
    for types, title in CONVS.items():
        chosen = [c for c in cases if c.types == types]
        if not chosen:
            continue
        tables.append((f"Convolutions: {title}, {speed_unit(types)}", *conv_table(chosen)))
        rows = [(c.label, None, [(r["name"], color_of(r["name"]), False, r["name"] == OURS, c.speed(r))
                                 for r in c.results if r["verdict"] != "wrong"]) for c in chosen]
        drawn[f"layers_conv_{types}.svg"] = plot.dot_rows(f"Convolutions: {title}", speed_unit(types), rows, kinds=())
    return tables, drawn


ATTENTION_EXPLANATION = """Attention of one sequence, named as tokens x keys : dim : heads / heads of keys; queries and results \
are f32, keys and values f32 if not said otherwise. Operations count 4 * dim for each pair of a query and a key that it sees. \
Of one token, out of cold caches: bytes of keys and values per second, beside what memory can be read with in the same \
rounds. Masks, other layouts, and copies of heads for libraries that don't share them (onnxruntime without causal) are made \
before the clock starts. Results are checked against f64: `~` is within what rounding to 16 or 8 bits explains, `!!` is \
wrong, which leaves the ratios out."""
NN_EXPLANATION = """Functions of the rows of a matrix of f32, not in place, norms without weights: bytes read and written per \
second. Results are checked against f64."""


class RowsCase(ConvCase):
    """One attention, or one function of rows: who was how fast."""
    right = RIGHT + ("rounds",)

    @property
    def label(self):
        r = self.record
        if r["record"] == "nn":
            return f"{r['function']} {r['matrix']}"
        return r["shape"] + (f" {r['kv']}" if r["kv"] != "f32" else "")

    @property
    def unit(self):
        return "GFLOP/s" if self.record["record"] == "attention" and not self.record["cold"] else "GB/s"

    @property
    def limit(self):
        return self.record.get("read_gb_per_second") or None

    def speed(self, result):
        return 1e-9 * self.record["bytes" if self.unit == "GB/s" else "flops"] / result["seconds"]


def rows_parts(records):
    """(heading, header, rows) and (file name, SVG) of attention, or of functions of rows."""
    tables, drawn = [], {}
    kinds = (("attention", "GFLOP/s", "Attention: prompts", "prefill_attention", "tokens x keys"),
             ("attention", "GB/s", "Attention: one token", "decode_attention", "tokens x keys"),
             ("nn", "GB/s", "Softmax and norms", "rows_nn", "function"))
    cases = [RowsCase(r) for r in records]
    for record, unit, title, name, first in kinds:
        chosen = [c for c in cases if c.record["record"] == record and c.unit == unit]
        if not chosen:
            continue
        tables.append((f"{title}, {unit}", *conv_table(chosen, first)))
        color = lambda who: WEIGHT_COLORS.get(who) or color_of(who)
        rows = [(c.label, c.limit, [(r["name"], color(r["name"]), False, r["name"] == OURS, c.speed(r))
                                    for r in c.results if r["verdict"] != "wrong"]) for c in chosen]
        limit = "; bar: what memory can be read with" if any(c.limit for c in chosen) else ""
        drawn[f"{name}.svg"] = plot.dot_rows(title, unit + limit, rows, kinds=())
    return tables, drawn


STYLE = """body{font:15px/1.5 system-ui,-apple-system,'Segoe UI','DejaVu Sans',Arial,sans-serif;color:#222;
max-width:1250px;margin:2em auto;padding:0 1.5em}h1{font-size:26px}h2{margin-top:2.2em;border-bottom:1px solid #ddd}
table{border-collapse:collapse;font-size:13px;margin:.8em 0 1.6em}th,td{padding:3px 9px;text-align:right;
border-bottom:1px solid #eee;white-space:nowrap}th{background:#f6f6f6;font-weight:600}td:first-child,th:first-child
{text-align:left}.wide{overflow-x:auto}svg{max-width:100%;height:auto;margin:.4em 0 1.2em}.note{color:#666;font-size:14px}
.ours{color:#d6215b;font-weight:600}nav a{margin-right:1.2em}"""


def html_table(header, rows):
    mark = [' class="ours"' if str(h).startswith(OURS) else "" for h in header]
    head = "".join(f"<th{mark[i]}>{escape(h)}</th>" for i, h in enumerate(header))
    body = "".join("<tr>" + "".join(f"<td{mark[i]}>{escape(v)}</td>" for i, v in enumerate(row)) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def html_page(title, sections):
    """sections: (heading, HTML)"""
    links = "".join(f'<a href="#s{i}">{escape(heading)}</a>' for i, (heading, _) in enumerate(sections))
    body = "".join(f'<h2 id="s{i}">{escape(heading)}</h2>{content}' for i, (heading, content) in enumerate(sections))
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
            f"<style>{STYLE}</style><h1>{escape(title)}</h1><nav>{links}</nav>{body}</html>\n")


def write_comparison(data, output):
    """Writes table.md, the pictures and report.html; returns the path of the last."""
    machine = data["machine"]
    cases = [Case(r) for r in data["cases"]]
    contenders = machine["contenders"] if cases else []
    weights = data.get("weights", {"cases": []})
    weights_tables, weights_drawn = weights_parts(weights["cases"])
    conv = data.get("conv", {"cases": []})
    conv_tables, conv_drawn = conv_parts(conv["cases"])
    summary, tables = summary_rows(cases), list(case_tables(cases))
    checks_header = ["results"] + [t for t in TYPES if any(c.types == t for c in cases)]
    checks = [[row[0]] + [v for t, v in zip(TYPES, row[1:]) if t in checks_header]
              for row in checks_rows(cases, contenders)]
    networks = data.get("networks", {"cases": []})
    networks_tables = network_tables(networks["cases"])
    attention, nn = data.get("attention", {"cases": []}), data.get("nn", {"cases": []})
    rows_suites = [("Attention", ATTENTION_EXPLANATION, *rows_parts(attention["cases"])),
                   ("Softmax and norms", NN_EXPLANATION, *rows_parts(nn["cases"]))]
    rows_suites = [suite for suite in rows_suites if suite[2]]
    machines = [machine] + [suite["machine"] for suite in (weights, conv, networks, attention, nn) if suite["cases"]]
    about = list(dict.fromkeys(f"{c['name']}: {c['description']}" for m in machines for c in m["contenders"]))
    about += list(dict.fromkeys(line for m in machines for line in m["missing"]))

    parts = ["# GEMM: Tessera and its peers", *machine_lines(machine)]
    if summary:
        parts.append(table(SUMMARY_HEADER, summary))
    if cases:
        parts.append(EXPLANATION)
    for title, header, rows in tables:
        parts += [f"## {title}", table(header, rows)]
    if weights_tables:
        parts += ["# Products with quantized weights", WEIGHTS_EXPLANATION]
    for title, header, rows in weights_tables:
        parts += [f"## {title}", table(header, rows)]
    if conv_tables:
        parts += ["# Convolutions", CONV_EXPLANATION]
    for title, header, rows in conv_tables:
        parts += [f"## {title}", table(header, rows)]
    if networks_tables:
        parts += ["# Networks", NETWORKS_EXPLANATION]
    for title, header, rows in networks_tables:
        parts += [f"## {title}", table(header, rows)]
    for title, explanation, suite_tables, _ in rows_suites:
        parts += [f"# {title}", explanation]
        for heading, header, rows in suite_tables:
            parts += [f"## {heading}", table(header, rows)]
    if checks:
        parts += ["## Results", table(checks_header, checks)]
    parts += ["## Contenders", "\n".join(f"- {line}" for line in about)]
    (output / "table.md").write_text("\n\n".join(parts) + "\n")

    drawn = dict(pictures(cases)) | weights_drawn | conv_drawn
    for types in TYPES:
        chosen = [c for c in cases if c.types == types]
        if len(chosen) > 2:
            drawn[f"roofline_{types}.svg"] = roofline_picture(types, chosen, machine)
    for *_, suite_drawn in rows_suites:
        drawn |= suite_drawn
    for name, svg in drawn.items():
        (output / name).write_text(svg)

    first = "".join(f"<p>{escape(line)}</p>" for line in machine_lines(machine))
    if summary:
        first += html_table(SUMMARY_HEADER, summary)
    note = lambda text: '<p class="note">' + re.sub("`(.+?)`", r"<code>\1</code>", escape(text)) + "</p>"
    first += note(EXPLANATION) if cases else ""
    sections = [("Summary", first)]
    for types, title in TYPES.items():
        content = "".join(svg for kind in ("ratio", "square", "decode", "batch", "prefill", "conv", "given", "roofline")
                          for name, svg in drawn.items() if name.startswith(kind) and
                          name.removesuffix(".svg").split("_")[1] == types)
        content += "".join(f"<h3>{escape(heading)}</h3>" + html_table(header, rows)
                           for heading, header, rows in tables if heading.startswith(title + ":"))
        if content:
            sections.append((title, content))
    if weights_tables:
        content = note(WEIGHTS_EXPLANATION) + "".join(weights_drawn.values())
        content += "".join(f"<h3>{escape(heading)}</h3>" + html_table(header, rows)
                           for heading, header, rows in weights_tables)
        sections.append(("Quantized weights", content))
    if conv_tables:
        content = note(CONV_EXPLANATION) + "".join(conv_drawn.values())
        content += "".join(f"<h3>{escape(heading)}</h3>" + html_table(header, rows)
                           for heading, header, rows in conv_tables)
        sections.append(("Convolutions", content))
    if networks_tables:
        content = note(NETWORKS_EXPLANATION) + "".join(html_table(header, rows) for _, header, rows in networks_tables)
        sections.append(("Networks", content))
    for title, explanation, suite_tables, suite_drawn in rows_suites:
        content = note(explanation) + "".join(suite_drawn.values())
        content += "".join(f"<h3>{escape(heading)}</h3>" + html_table(header, rows) for heading, header, rows in suite_tables)
        sections.append((title, content))
    if checks:
        sections.append(("Results", html_table(checks_header, checks)))
    sections.append(("Contenders", "<ul>" + "".join(f"<li>{escape(a)}</li>" for a in about) + "</ul>"))
    page = output / "report.html"
    page.write_text(html_page("GEMM: Tessera and its peers", sections))
    return page


def cliffs(points):
    """{index: times slower} of the sizes that are more than CLIFF times slower than their neighbours suggest.

    Either per flop, than what the two sizes below and the two above suggest, interpolated on logarithmic scales, so
    that a cost that falls steadily, as of small sizes, is no cliff; or in seconds, than a larger size nearby: then
    padding would pay. points: [(size, flops, seconds), ...]
    """
    found = {}
    for i, (size, flops, seconds) in enumerate(points):
        larger = [t for s, _, t in points[i + 1:] if s <= max(1.25 * size, size + 16)]
        slower = seconds / min(larger) if larger else 0
        if 2 <= i < len(points) - 2:
            mean = lambda part, f: statistics.fmean(math.log(f(p)) for p in part)
            below, above = points[i - 2:i], points[i + 1:i + 3]
            sizes = [mean(part, lambda p: p[0]) for part in (below, above)]
            costs = [mean(part, lambda p: p[2] / p[1]) for part in (below, above)]
            share = (math.log(size) - sizes[0]) / (sizes[1] - sizes[0])
            slower = max(slower, seconds / flops / math.exp(costs[0] + share * (costs[1] - costs[0])))
        if slower > CLIFF:
            found[i] = slower
    return found


def write_sweep(data, output):
    """Writes sweep.md, a picture for each kind of types and sweep.html; returns the path of the last."""
    rows, drawn = [], {}
    for types in TYPES:
        panels = []
        for series in (s for s in data["series"] if s["types"] == types):
            shapes = [tuple(p[:3]) for p in series["points"]]
            # The extent that varies is the one with the most values.
            axis = max(range(3), key=lambda j: len({s[j] for s in shapes}))
            flops = [2.0 * m * n * k for m, n, k in shapes]
            seconds = [p[3] for p in series["points"]]
            flagged = cliffs([(s[axis], f, t) for s, f, t in zip(shapes, flops, seconds)])
            for i, slower in flagged.items():
                rows.append([types, series["name"], "x".join(map(str, shapes[i])), f"{flops[i] / seconds[i] * 1e-9:.1f}",
                             f"{slower:.2f}"])
            panels.append((series["name"] + (", packed" if series["packed"] else ""),
                           [(s[axis], f / t * 1e-9) for s, t, f in zip(shapes, seconds, flops)],
                           {shapes[i][axis]: slower for i, slower in flagged.items()}))
        if panels:
            drawn[types] = plot.sweep_panels(f"{TYPES[types]}: GFLOP/s over sizes, cliffs in red", COLORS[OURS], panels)
            (output / f"sweep_{types}.svg").write_text(drawn[types])
    rows.sort(key=lambda row: -float(row[4]))
    header = ("types", "series", "m x n x k", "GFLOP/s", "times slower")
    note = (f"Target {data['machine']['target']}. Listed: shapes more than {CLIFF} times slower, per flop than the two smaller "
            "and the two larger neighbours suggest, or in time than a larger shape nearby.")
    (output / "sweep.md").write_text("\n\n".join(["# GEMM over sizes", note, table(header, rows) if rows else "None."]) +
                                     "\n")
    sections = [(f"{TYPES[types]}", svg) for types, svg in drawn.items()]
    sections.append((f"Cliffs ({len(rows)})", f"<p>{escape(note)}</p>" + (html_table(header, rows) if rows else "")))
    page = output / "sweep.html"
    page.write_text(html_page("GEMM over sizes", sections))
    return page
