"""Write frc_golden.csv and frc_thresholds_golden.csv.

Ring correlations of two small images of whole numbers, and thresholds, in 50-digit arithmetic: discrete
Fourier transforms by their definition, rings in integers, Student's t from the incomplete beta
function. Needs mpmath; the tests need only the tables.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from math import isqrt
from pathlib import Path

from mpmath import betainc, expjpi, findroot, mp, mpf, sqrt

mp.dps = 50
HERE = Path(__file__).parent
SHAPES = [(8, 8), (9, 9), (6, 10), (11, 7)]
COUNTS = [2, 4, 8, 12, 16, 20, 36, 100, 1000, 12868, 10**6]


def images(height: int, width: int) -> tuple[list[list[int]], list[list[int]]]:
    """Two images that share a part."""
    a = [[(7 * y * y + 3 * x * y + 5 * x + y) % 17 for x in range(width)] for y in range(height)]
    b = [[(a[y][x] + (y * y + 11 * x * x + 2 * x * y) % 13) for x in range(width)] for y in range(height)]
    return a, b


def transform(image: list[list[int]]) -> dict[tuple[int, int], mpf]:
    height, width = len(image), len(image[0])
    return {
        (ky, kx): sum(
            image[y][x] * expjpi(-2 * (mpf(ky * y) / height + mpf(kx * x) / width))
            for y in range(height)
            for x in range(width)
        )
        for ky in range(height)
        for kx in range(width)
    }


def ring(ky: int, kx: int, height: int, width: int, binning: str) -> int:
    ky, kx = min(ky, height - ky), min(kx, width - kx)
    squared, scale = (ky * width) ** 2 + (kx * height) ** 2, max(height, width)
    if binning == "floor":
        return isqrt(squared) // scale
    return (isqrt(4 * squared) + scale) // (2 * scale)


def correlations() -> list[list[object]]:
    rows: list[list[object]] = []
    for height, width in SHAPES:
        fa, fb = (transform(image) for image in images(height, width))
        for binning in ("round", "floor"):
            rings = defaultdict(list)
            for k in fa:
                rings[ring(*k, height, width, binning)].append((fa[k], fb[k]))
            for r in sorted(rings)[1:]:
                cross = sum((a * b.conjugate()).real for a, b in rings[r])
                power_a, power_b = (sum(abs(v) ** 2 for v in side) for side in zip(*rings[r], strict=True))
                product = sum(abs(a) ** 2 * abs(b) ** 2 for a, b in rings[r])
                numbers = (cross / sqrt(power_a * power_b), cross / sqrt(product))
                rows.append([height, width, binning, r, len(rings[r]), *(mp.nstr(v, 20) for v in numbers)])
    return rows


def student_t(freedom: int) -> mpf:
    """The t beyond which Student's t lies on either side in 0.27 % of all cases."""

    def excess(t: mpf) -> mpf:
        return betainc(mpf(freedom) / 2, 0.5, 0, freedom / (freedom + t * t), regularized=True) - mpf(
            "0.0027"
        )

    return findroot(excess, (mpf(3), mpf(300) if freedom == 1 else mpf(4)), solver="anderson")


def thresholds() -> list[list[object]]:
    rows: list[list[object]] = []
    for count in COUNTS:
        n, root = mpf(count), sqrt(mpf(count))
        t = student_t(count - 1)
        values = (
            3 / sqrt(n / 2),
            t / sqrt(n - 1 + t * t),
            3 / (sqrt(n / 2) + 2),
            (mpf("0.2071") + mpf("1.9102") / root) / (mpf("1.2071") + mpf("0.9102") / root),
            (mpf("0.5") + mpf("2.4142") / root) / (mpf("1.5") + mpf("1.4142") / root),
        )
        rows.append([count, *(mp.nstr(v, 20) for v in values)])
    return rows


def write(name: str, header: list[str], rows: list[list[object]]) -> None:
    with open(HERE / name, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


if __name__ == "__main__":
    write(
        "frc_golden.csv",
        ["height", "width", "binning", "radius", "n", "correlation", "z"],
        correlations(),
    )
    write(
        "frc_thresholds_golden.csv",
        ["n", "3sigma", "3sigma-exact", "3sigma-asymptotic", "half-bit", "one-bit"],
        thresholds(),
    )
