# SPDX-License-Identifier: Apache-2.0
"""SVG charts for bench/compare, on nothing but the standard library: axes, lines, dots, labels that keep apart."""
import math
from xml.sax.saxutils import escape

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"
INK, FAINT, GRID, LIMIT = "#222", "#777", "#e4e4e4", "#444"


class Svg:
    """A drawing of fixed size; y grows downwards."""

    def __init__(self, width, height):
        self.width, self.height, self.items = width, height, []

    def add(self, tag, text=None, **attributes):
        given = " ".join(f'{k.replace("_", "-")}="{v:.1f}"' if isinstance(v, float) else
                         f'{k.replace("_", "-")}="{escape(str(v))}"' for k, v in attributes.items())
        self.items.append(f"<{tag} {given}/>" if text is None else f"<{tag} {given}>{text}</{tag}>")

    def line(self, x1, y1, x2, y2, color=INK, width=1.0, dash=None, opacity=1):
        extra = {"stroke_dasharray": dash} if dash else {}
        self.add("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), stroke=color,
                 stroke_width=float(width), stroke_opacity=opacity, **extra)

    def path(self, points, color, width=1.5, dash=None):
        extra = {"stroke_dasharray": dash} if dash else {}
        self.add("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), fill="none", stroke=color,
                 stroke_width=float(width), stroke_linejoin="round", **extra)

    def dot(self, x, y, color, radius=3.0, hollow=False, title=None):
        text = f"<title>{escape(title)}</title>" if title else None
        self.add("circle", text, cx=float(x), cy=float(y), r=float(radius), fill="none" if hollow else color,
                 stroke=color if hollow else "#fff", stroke_width=1.6 if hollow else 0.7)

    def text(self, x, y, text, size=12, color=INK, anchor="start", bold=False, rotate=None):
        extra = {"transform": f"rotate({rotate} {x:.1f} {y:.1f})"} if rotate else {}
        self.add("text", escape(text), x=float(x), y=float(y), font_size=size, fill=color, text_anchor=anchor,
                 font_weight="600" if bold else "400", stroke="#fff", stroke_width=3, paint_order="stroke",
                 stroke_linejoin="round", **extra)

    def __str__(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
                f'viewBox="0 0 {self.width} {self.height}" font-family="{escape(FONT)}">'
                f'<rect width="100%" height="100%" fill="#fff"/>' + "\n".join(self.items) + "</svg>\n")


class Axis:
    """Maps values to pixels, `first` at `start`, `last` at `end`."""

    def __init__(self, first, last, start, end, log=False):
        self.first, self.last, self.start, self.end, self.log = first, last, start, end, log

    def __call__(self, value):
        a, b, v = self.first, self.last, value
        if self.log:
            a, b, v = math.log(a), math.log(b), math.log(max(value, 1e-12))
        return self.start + (v - a) / (b - a) * (self.end - self.start)

    def ticks(self, most=8):
        if not self.log:
            step = nice_step((self.last - self.first) / most)
            first = math.ceil(self.first / step - 1e-9)
            return [i * step for i in range(first, int(self.last / step + 1e-9) + 1)]
        for multiples in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
            decades = range(math.floor(math.log10(self.first)), math.ceil(math.log10(self.last)) + 1)
            ticks = [m * 10.0**d for d in decades for m in multiples]
            ticks = [t for t in ticks if self.first * 0.999 <= t <= self.last * 1.001]
            if len(ticks) <= most:
                return ticks
        return ticks[::2]


def nice_step(least):
    power = 10.0**math.floor(math.log10(least))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= least * 0.999)


def number(value):
    """At most three significant digits, without exponents."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def spread(positions, gap, low, high):
    """The positions, moved as little as it takes to keep `gap` between neighbours, within [low, high]."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    # Blocks of labels that touch: [indices, centre of what they would like]. Blocks that overlap merge.
    blocks = []
    for i in order:
        blocks.append([[i], positions[i]])
        while len(blocks) > 1 and (blocks[-1][1] - gap * len(blocks[-1][0]) / 2 <
                                   blocks[-2][1] + gap * len(blocks[-2][0]) / 2):
            (upper, b), (lower, a) = blocks.pop(), blocks.pop()
            count = len(lower) + len(upper)
            centre = (a * len(lower) + b * len(upper)) / count
            half = gap * count / 2
            blocks.append([lower + upper, max(low + half - gap / 2, min(high - half + gap / 2, centre))])
    result = [0.0] * len(positions)
    for indices, centre in blocks:
        for rank, i in enumerate(indices):
            result[i] = centre + (rank - (len(indices) - 1) / 2) * gap
    return result


def frame(svg, x, y, x_label, y_label, x_ticks=None, x_names=None, y_ticks=None):
    """Grid, tick labels and axis titles."""
    for value in y.ticks() if y_ticks is None else y_ticks:
        svg.line(x.start, y(value), x.end, y(value), GRID)
        svg.text(x.start - 7, y(value) + 4, number(value), 11, FAINT, "end")
    for i, value in enumerate(x.ticks() if x_ticks is None else x_ticks):
        svg.line(x(value), y.start, x(value), y.end, GRID)
        svg.text(x(value), y.start + 17, x_names[i] if x_names else number(value), 11, FAINT, "middle")
    svg.line(x.start, y.start, x.end, y.start, FAINT)
    svg.text((x.start + x.end) / 2, y.start + 37, x_label, 12, INK, "middle")
    if y_label:
        svg.text(x.start - 44, (y.start + y.end) / 2, y_label, 12, INK, "middle", rotate=-90)


def line_panels(title, x_label, y_label, panels, limit=None):
    """Lines over a log2 axis, one panel beside the other, with a common y axis.

    panels: (title, [(name, color, emphasis, [(x, y), ...]), ...]); limit: (name, value), a dashed line.
    """
    panels = [(name, [s for s in series if s[3]]) for name, series in panels]
    panels = [p for p in panels if p[1]]
    width, height, top, bottom, left, names = 470, 440, 74, 56, 62, 118
    svg = Svg(left + len(panels) * (width + names), height)
    svg.text(14, 26, title, 16, bold=True)
    values = [y for _, series in panels for s in series for _, y in s[3]]
    xs = sorted({x for _, series in panels for s in series for x, _ in s[3]})
    highest = max(values + ([limit[1]] if limit and limit[1] < 3 * max(values) else []))
    for number_of_panel, (name, series) in enumerate(panels):
        start = left + number_of_panel * (width + names)
        x = Axis(xs[0] / 1.12, xs[-1] * 1.12, start, start + width - 30, log=True)
        y = Axis(0, highest * 1.06, height - bottom, top)
        svg.text(start, top - 16, name, 13, FAINT, bold=True)
        shown = [v for i, v in enumerate(xs) if i == 0 or math.log2(v / xs[0]) % 1 == 0 or len(xs) < 6]
        frame(svg, x, y, x_label, y_label if number_of_panel == 0 else "", shown, [f"{v:g}" for v in shown])
        if limit and limit[1] <= highest:
            svg.line(x.start, y(limit[1]), x.end, y(limit[1]), LIMIT, 1.3, "6 4")
        series = sorted(series, key=lambda s: s[2])  # what is emphasised is drawn last
        labels = [(limit[0], LIMIT, False, x.end, y(limit[1]))] if limit and limit[1] <= highest else []
        for text, color, emphasis, points in series:
            pixels = [(x(a), y(b)) for a, b in points]
            svg.path(pixels, color, 3.2 if emphasis else 1.6)
            for (px, py), (a, b) in zip(pixels, points):
                svg.dot(px, py, color, 4.2 if emphasis else 2.6, title=f"{text}, {a:g}: {number(b)}")
            end_x, end_y = pixels[-1]
            if points[-1][0] < xs[-1]:  # ends early: labelled there
                svg.text(end_x + 7, end_y + 12, text, 12, color, bold=emphasis)
            else:
                labels.append((text, color, emphasis, end_x + 5, end_y))
        placed = spread([label[4] for label in labels], 15, top, height - bottom)
        for (text, color, emphasis, end_x, end_y), label_y in zip(labels, placed):
            if abs(label_y - end_y) > 3:
                svg.line(end_x, end_y, x.end + 12, label_y, color, 0.7, opacity=0.5)
            svg.text(x.end + 15, label_y + 4, text, 12, color, bold=emphasis)
    return str(svg)


def legend(svg, x, y, entries, most):
    """(name, color, hollow, bold) in rows not wider than `most`; returns the y below."""
    start = x
    for name, color, hollow, bold in entries:
        width = 7.2 * len(name) + 30
        if x + width > start + most:
            x, y = start, y + 20
        svg.dot(x + 5, y - 4, color, 4.5, hollow)
        svg.text(x + 15, y, name, 12, INK, bold=bold)
        x += width
    return y + 12


PLAIN_PACKED = ("B as it is", "B packed")


def dot_rows(title, x_label, rows, log=True, kinds=PLAIN_PACKED):
    """One row for each case, a dot for each contender.

    rows: (label, limit or None, [(name, color, hollow, emphasis, value), ...]); kinds: what filled and hollow ones are,
    or nothing where all are filled
    """
    left, right, row_height = 210, 30, 24
    seen = {}
    for _, _, dots in rows:
        for name, color, _, emphasis, _ in dots:
            seen.setdefault(name, (name, color, False, emphasis))
    svg = Svg(1000, 10)
    svg.text(14, 26, title, 16, bold=True)
    entries = list(seen.values()) + [(f"{('filled', 'hollow')[i]}: {kind}", FAINT, i == 1, False)
                                     for i, kind in enumerate(kinds)]
    top = legend(svg, 16, 52, entries, 960) + 14
    svg.height = top + row_height * len(rows) + 56
    values = [d[4] for _, _, dots in rows for d in dots] + [r[1] for r in rows if r[1]]
    first, last = (min(values) / 1.15, max(values) * 1.1) if log else (0, max(values) * 1.05)
    x = Axis(first, last, left, svg.width - right, log)
    bottom = top + row_height * len(rows)
    for value in x.ticks(12):
        svg.line(x(value), top, x(value), bottom, GRID)
        svg.text(x(value), bottom + 17, number(value), 11, FAINT, "middle")
    svg.text((x.start + x.end) / 2, bottom + 38, x_label, 12, INK, "middle")
    for i, (label, limit, dots) in enumerate(rows):
        y = top + (i + 0.5) * row_height
        svg.text(left - 12, y + 4, label, 12, INK, "end")
        svg.line(x.start, y, x.end, y, GRID)
        if limit:
            svg.line(x(limit), y - 9, x(limit), y + 9, LIMIT, 2)
        for name, color, hollow, emphasis, value in sorted(dots, key=lambda d: d[3]):
            parts = [name] + ([kinds[hollow]] if kinds else []) + [label]
            svg.dot(x(value), y, color, 6.5 if emphasis else 4.2, hollow, ", ".join(parts) + f": {number(value)}")
    return str(svg)


def ratio_rows(title, color, groups, kinds=PLAIN_PACKED, header="best peer: plain / packed"):
    """How many times as fast as the best peer.

    groups: (name, [(label, plain ratio or None, its peer, packed ratio or None, its peer), ...]), of the two `kinds`
    """
    left, right, row_height = 210, 190, 22
    rows = sum(len(g[1]) for g in groups)
    svg = Svg(1000, 104 + row_height * rows + 30 * len(groups) + 50)
    svg.text(14, 26, title, 16, bold=True)
    legend(svg, 16, 52, [(kinds[0], color, False, False), (kinds[1], color, True, False)], 900)
    svg.text(svg.width - right + 12, 52, header, 12, FAINT)
    ratios = [r for _, entries in groups for e in entries for r in (e[1], e[3]) if r]
    most = max([2.0] + [max(r, 1 / r) for r in ratios]) * 1.1
    x = Axis(1 / most, most, left, svg.width - right, log=True)
    top, bottom = 70, svg.height - 50
    labelled = -math.inf
    for value in (0.02, 0.05, 0.1, 0.2, 0.33, 0.5, 0.67, 0.8, 1, 1.25, 1.5, 2, 3, 5, 10, 20, 50):
        if x.first < value < x.last:
            svg.line(x(value), top, x(value), bottom, FAINT if value == 1 else GRID, 1.4 if value == 1 else 1)
            if x(value) > labelled + 34:
                svg.text(x(value), bottom + 17, number(value), 11, FAINT, "middle")
                labelled = x(value)
    svg.text(x(1) - 10, bottom + 38, "\u2190 slower", 12, FAINT, "end")
    svg.text(x(1) + 10, bottom + 38, "faster than the best peer \u2192", 12, FAINT)
    y = top
    for name, entries in groups:
        y += 30
        svg.text(14, y - 8, name, 13, INK, bold=True)
        for label, plain, plain_peer, packed, packed_peer in entries:
            middle = y + row_height / 2
            svg.text(left - 12, middle + 4, label, 12, INK, "end")
            for ratio, hollow in ((packed, True), (plain, False)):
                if ratio:
                    svg.line(x(1), middle, x(ratio), middle, color, 1.2 if hollow else 3, opacity=0.45)
            for ratio, hollow in ((packed, True), (plain, False)):
                if ratio:
                    svg.dot(x(ratio), middle, color, 5.2, hollow, f"{label}: {number(ratio)}")
            peers = plain_peer if plain_peer == packed_peer else f"{plain_peer or '-'} / {packed_peer or '-'}"
            svg.text(svg.width - right + 12, middle + 4, peers or "", 11, FAINT)
            y += row_height
    return str(svg)


def roofline(title, color, limit, slopes, points, unit):
    """limit: (name, GFLOP/s); slopes: (name, GB/s); points: (label, flops per byte, GFLOP/s of Tessera, of the best peer),
    each of the last two may be None."""
    peak = limit[1]
    svg = Svg(1000, 520)
    svg.text(14, 26, title, 16, bold=True)
    legend(svg, 16, 52, [("tessera, the better of plain and packed", color, False, True),
                         ("best peer", FAINT, True, False)], 900)
    intensities = [p[1] for p in points]
    speeds = [v for p in points for v in p[2:] if v]
    x = Axis(min(intensities) / 1.8, max(intensities) * 1.8, 70, 970, log=True)
    y = Axis(min(speeds) / 2, max([peak] + speeds) * 1.6, 464, 74, log=True)
    frame(svg, x, y, "operations per byte that must be moved at least", unit)
    svg.line(x.start, y(peak), x.end, y(peak), LIMIT, 1.6)
    svg.text(x.end - 4, y(peak) - 7, f"{limit[0]}: {number(peak)} {unit}", 12, LIMIT, "end")
    for i, (name, bandwidth) in enumerate(slopes):
        first, last = max(x.first, y.first / bandwidth), min(x.last, peak / bandwidth)
        if first >= last:
            continue
        svg.line(x(first), y(first * bandwidth), x(last), y(last * bandwidth), LIMIT, 1.6 if i == 0 else 1,
                 None if i == 0 else "4 4", 1 if i == 0 else 0.6)
        if x(last) - x(first) < 110:  # no room for its name
            continue
        angle = -math.degrees(math.atan2(y(first * bandwidth) - y(last * bandwidth), x(last) - x(first)))
        # Beside the line, where the lines are furthest from the points: halfway up.
        middle = math.sqrt(first * last)
        svg.text(x(middle) - 3, y(middle * bandwidth) - 6, f"{name} {number(bandwidth)} GB/s", 11, LIMIT, "middle",
                 rotate=round(angle, 1))
    for label, intensity, ours, peer in points:
        if ours and peer:
            svg.line(x(intensity), y(ours), x(intensity), y(peer), FAINT, 0.9, opacity=0.6)
    for label, intensity, ours, peer in points:
        if peer:
            svg.dot(x(intensity), y(peer), FAINT, 4, True, f"best peer, {label}: {number(peer)}")
    for label, intensity, ours, peer in points:
        if ours:
            svg.dot(x(intensity), y(ours), color, 5.2, False, f"tessera, {label}: {number(ours)}")
    return str(svg)


def sweep_panels(title, color, panels, columns=2):
    """GFLOP/s over sizes; panels: (name, [(size, GFLOP/s), ...], {size: how many times slower})."""
    width, height, top = 560, 250, 46
    rows = math.ceil(len(panels) / columns)
    svg = Svg(columns * width, top + rows * height)
    svg.text(14, 26, title, 16, bold=True)
    alarm = "#d00000"
    for i, (name, points, cliffs) in enumerate(panels):
        left, upper = (i % columns) * width + 56, top + (i // columns) * height + 26
        x = Axis(points[0][0], points[-1][0], left, left + width - 80, log=points[-1][0] / points[0][0] > 20)
        y = Axis(0, max(v for _, v in points) * 1.1, upper + height - 80, upper)
        svg.text(left, upper - 9, name, 12, INK, bold=True)
        frame(svg, x, y, "", "", y_ticks=y.ticks(5))
        svg.path([(x(a), y(b)) for a, b in points], color, 1.4)
        for a, b in points:
            if a in cliffs:
                svg.dot(x(a), y(b), alarm, 3, False, f"{a}: {number(b)}, {cliffs[a]:.2f} times slower")
        # The worst by name where there is room; the list has all.
        named = []
        for a in sorted(cliffs, key=lambda s: -cliffs[s]):
            if len(named) < 6 and all(abs(x(a) - other) > 30 for other in named):
                svg.text(x(a), min(y(dict(points)[a]) + 15, y.start - 4), str(a), 11, alarm, "middle", bold=True)
                named.append(x(a))
    return str(svg)
