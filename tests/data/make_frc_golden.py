"""Write frc_golden.csv and frc_thresholds_golden.csv.

Ring correlations of two small images of whole numbers, and thresholds, in 50-digit arithmetic: discrete
Fourier transforms by their definition, rings in integers, Student's t from the incomplete beta
function. z and evenness are of the images' periodic components (L. Moisan, J. Math. Imaging Vis. 39, 161
(2011)), by Poisson's equation. Needs mpmath; the tests need only the tables.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from math import isqrt
from pathlib import Path

from mpmath import betainc, cospi, expjpi, findroot, mp, mpf, sqrt

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


def periodic(image: list[list[int]]) -> dict[tuple[int, int], mpf]:
    """Transform of the periodic component, whose Laplacian is the image's but for what crosses the edges."""
    height, width = len(image), len(image[0])
    jumps = [[0] * width for _ in range(height)]
    for x in range(width):
        step = image[-1][x] - image[0][x]
        jumps[0][x] += step
        jumps[-1][x] -= step
    for y in range(height):
        step = image[y][-1] - image[y][0]
        jumps[y][0] += step
        jumps[y][-1] -= step
    whole, smooth = transform(image), transform(jumps)
    for ky, kx in smooth:
        if (ky, kx) != (0, 0):
            laplacian = 2 * cospi(mpf(2 * ky) / height) + 2 * cospi(mpf(2 * kx) / width) - 4
            whole[ky, kx] -= smooth[ky, kx] / laplacian
    return whole


def ring(ky: int, kx: int, height: int, width: int, binning: str) -> int:
    ky, kx = min(ky, height - ky), min(kx, width - kx)
    squared, scale = (ky * width) ** 2 + (kx * height) ** 2, max(height, width)
    if binning == "floor":
        return isqrt(squared) // scale
    return (isqrt(4 * squared) + scale) // (2 * scale)


def sums(
    fa: dict[tuple[int, int], mpf], fb: dict[tuple[int, int], mpf], ring: list[tuple[int, int]]
) -> tuple[mpf, mpf, mpf, mpf]:
    """Σ Re(A B*), Σ |A|², Σ |B|², Σ |A|² |B|² over a ring."""
    pairs = [(fa[k], fb[k]) for k in ring]
    return (
        sum((a * b.conjugate()).real for a, b in pairs),
        sum(abs(a) ** 2 for a, _ in pairs),
        sum(abs(b) ** 2 for _, b in pairs),
        sum(abs(a) ** 2 * abs(b) ** 2 for a, b in pairs),
    )


def correlations() -> list[list[object]]:
    rows: list[list[object]] = []
    for height, width in SHAPES:
        fa, fb = (transform(image) for image in images(height, width))
        pa, pb = (periodic(image) for image in images(height, width))
        for binning in ("round", "floor"):
            rings = defaultdict(list)
            for k in fa:
                rings[ring(*k, height, width, binning)].append(k)
            for r in sorted(rings)[1:]:
                cross, power_a, power_b, _ = sums(fa, fb, rings[r])
                correlation = cross / sqrt(power_a * power_b)
                cross, power_a, power_b, product = sums(pa, pb, rings[r])
                n = len(rings[r])
                numbers = (correlation, cross / sqrt(product), power_a * power_b / (n * product))
                rows.append([height, width, binning, r, n, *(mp.nstr(v, 20) for v in numbers)])
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
        ["height", "width", "binning", "radius", "n", "correlation", "z", "evenness"],
        correlations(),
    )
    write(
        "frc_thresholds_golden.csv",
        ["n", "3sigma", "3sigma-exact", "3sigma-asymptotic", "half-bit", "one-bit"],
        thresholds(),
    )
