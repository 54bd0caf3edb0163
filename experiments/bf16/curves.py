"""Draws the losses of two runs on the same batches, and their differences.

    python3 curves.py RUN RUN SVG

Losses are means over 20 steps. Prints the mean losses of 200 steps each, and the largest difference of one step.
"""

import csv
import sys
from pathlib import Path

WIDTH, HEIGHT, GAP = 700, 240, 50


def losses(run):
    with open(Path(run) / "metrics.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def means(values, length):
    return [sum(part) / len(part) for part in (values[i:i + length] for i in range(0, len(values), length))]


def line(values, low, high, top, colour, dashes=""):
    step = WIDTH / (len(values) - 1)
    points = " ".join(f"{i * step:.1f},{top + HEIGHT * (high - value) / (high - low):.1f}" for i, value in enumerate(values))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'


def label(x, y, text, colour="#555", anchor="start"):
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{text}</text>'


def panel(top, low, high, digits, title):
    return [f'<rect x="0" y="{top}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>', label(0, top - 8, title),
            label(-6, top + 10, f"{high:.{digits}f}", anchor="end"), label(-6, top + HEIGHT, f"{low:.{digits}f}", anchor="end")]


def main():
    runs, svg = sys.argv[1:3], sys.argv[3]
    names = [Path(run).name.split("-")[-1] for run in runs]
    first, second = map(losses, runs)
    assert len(first) == len(second)
    differences = [b - a for a, b in zip(first, second)]
    for start in range(0, len(first), 200):
        part = slice(start, start + 200)
        shown = [sum(values[part]) / len(values[part]) for values in (first, second)]
        print(f"steps {start + 1} to {start + len(first[part])}: {shown[0]:.4f} {shown[1]:.4f}")
    largest = max(map(abs, differences))
    print(f"largest difference of a step: {largest:.4f}; mean: {sum(map(abs, differences)) / len(differences):.5f}")

    curves = [means(values, 20) for values in (first, second)]
    low, high = min(map(min, curves)), max(map(max, curves))
    below = HEIGHT + GAP
    parts = panel(0, low, high, 2, f"loss of {len(first)} steps, means over 20: {names[0]} (orange), {names[1]} (blue, dashed)")
    parts += [line(curves[0], low, high, 0, "#e69f00"), line(curves[1], low, high, 0, "#0072b2", "6 4")]
    parts += panel(below, -largest, largest, 4, f"{names[1]} less {names[0]}, every step")
    parts.append(line(differences, -largest, largest, below, "#0072b2").replace('"2"', '"0.7"'))
    box = f"-60 -30 {WIDTH + 70} {2 * HEIGHT + GAP + 40}"
    text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="sans-serif" font-size="13">'
    Path(svg).write_text(text + '<rect x="-60" y="-30" width="100%" height="100%" fill="#fff"/>' + "\n".join(parts) + "</svg>\n")


if __name__ == "__main__":
    main()
