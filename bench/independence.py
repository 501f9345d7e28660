"""False alarms of the test of independence, and how weak a fixed pattern it finds.

    python bench/independence.py [--runs N] [--side N] [--json FILE] [--docs]

Simulated pairs of frames, beside two other readings of the same pairs: whether a ring lies outside
±3/sqrt(n/2), and the correlation coefficient of the pixels, that is the cross-correlation at zero shift.
--docs puts the tables into docs/explanation/independence.md.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import camnorm
from camnorm.demo.simulate import Landscape, Particles
from harness import table

DOCS = Path(__file__).parents[1] / "docs" / "explanation" / "independence.md"

# Where a one-sided normal probability of 5 % begins.
_ZERO_LAG = 1.6449
_STRENGTHS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.10, 0.15, 0.20)
_GROUP = 12

Image = npt.NDArray[np.float32]
Draw = Callable[[np.random.Generator], Image]


def red(side: int, slope: float, periodic: bool) -> Draw:
    """Gaussian fields with an amplitude of 1 / frequency**slope; if not periodic, cut out of larger ones."""
    n = side if periodic else 2 * side
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
    frequency[0, 0] = np.inf
    amplitude = frequency**-slope

    def draw(rng: np.random.Generator) -> Image:
        field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, n))) * amplitude, s=(n, n))
        return np.asarray(field[:side, :side], np.float32)

    return draw


def noisy(scene: Draw, noise: float) -> Draw:
    """A scene of unit standard deviation and white noise."""

    def draw(rng: np.random.Generator) -> Image:
        image = scene(rng)
        noise_image = rng.standard_normal(image.shape, dtype=np.float32)
        return np.asarray((image - image.mean()) / image.std() + noise * noise_image, np.float32)

    return draw


def scenes(side: int) -> dict[str, Draw]:
    """What frames may show, by name."""
    rng = np.random.default_rng(0)
    shape = (side, side)
    particles = Particles(shape, size=side // 8, count=30, contrast=0.3, rng=rng)
    return {
        "white": lambda rng: rng.standard_normal(shape, dtype=np.float32),
        "1/k, periodic": red(side, 1.0, True),
        "1/k, not periodic": red(side, 1.0, False),
        "1/k^1.5, not periodic": red(side, 1.5, False),
        "1/k^2, not periodic": red(side, 2.0, False),
        "1/k^2, not periodic, as much noise": noisy(red(side, 2.0, False), 1.0),
        "landscape (1/k^1.5 with a knee)": Landscape(shape, contrast=0.2).draw,
        "particles, noise three times as strong": noisy(particles.draw, 3.0),
    }


def readings(a: Image, b: Image, window: str | None) -> tuple[bool, bool, bool]:
    """What is called dependent: by the verdict, by plain 3σ, by the correlation of the pixels."""
    curve = camnorm.frc(a, b, window=window, threads=1)
    assert isinstance(curve, camnorm.RingCorrelation)
    verdict = curve.independence()
    zero_lag = float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) * math.sqrt(a.size)
    return not verdict.independent, verdict.outside_3sigma > 0, zero_lag > _ZERO_LAG


def false_alarms(runs: int, side: int) -> list[dict[str, Any]]:
    """Shares of independent pairs that are called dependent."""
    rows = []
    for name, draw in scenes(side).items():
        found: dict[str | None, list[tuple[bool, bool, bool]]] = {None: [], "tukey": [], "hann": []}
        for run in range(runs):
            rng = np.random.default_rng([run, side])
            a, b = draw(rng), draw(rng)
            for window, results in found.items():
                results.append(readings(a, b, window))
        for window, results in found.items():
            shares = np.mean(results, axis=0)
            rows.append(
                dict(zip(("verdict", "3sigma", "zero_lag"), shares.tolist(), strict=True))
                | {"scene": name, "window": window}
            )
        print(f"{name} done", flush=True)
    return rows


def power(runs: int, side: int) -> list[dict[str, Any]]:
    """Shares of pairs with a fixed pattern that are called dependent, by its strength."""
    patterns: dict[str, Draw] = {
        "pixels": lambda rng: rng.standard_normal((side, side), dtype=np.float32),
        "columns": lambda rng: np.tile(rng.standard_normal(side, dtype=np.float32), (side, 1)),
    }
    rows = []
    for name, draw in patterns.items():
        for frames in (1, _GROUP):
            for strength in _STRENGTHS:
                results = []
                for run in range(runs):
                    rng = np.random.default_rng([run, side, frames])
                    pattern = strength * math.sqrt(frames) * draw(rng)
                    a, b = (rng.standard_normal((side, side), dtype=np.float32) + pattern for _ in range(2))
                    results.append(readings(a, b, None))
                shares = np.mean(results, axis=0)
                rows.append(
                    dict(zip(("verdict", "3sigma", "zero_lag"), shares.tolist(), strict=True))
                    | {"pattern": name, "frames": frames, "strength": strength}
                )
        print(f"{name} done", flush=True)
    return rows


def percent(share: float) -> str:
    """A share in percent."""
    return f"{100 * share:.1f} %"


def null_text(rows: list[dict[str, Any]], runs: int, side: int) -> str:
    """The false alarms as a table."""
    cells = [
        [row["scene"], row["window"] or "none", *(percent(row[k]) for k in ("verdict", "3sigma", "zero_lag"))]
        for row in rows
    ]
    header = ["scene", "window", "camnorm", "a ring outside ±3σ", "zero shift"]
    return f"{runs} independent pairs of {side} x {side} pixels each.\n\n{table(header, cells)}"


def power_text(rows: list[dict[str, Any]], runs: int, side: int) -> str:
    """The power as a table, a column a strength."""
    keys = {"verdict": "camnorm", "3sigma": "a ring outside ±3σ", "zero_lag": "zero shift"}
    cells = []
    for pattern, frames in dict.fromkeys((row["pattern"], row["frames"]) for row in rows):
        for key, name in keys.items():
            chosen = [row[key] for row in rows if (row["pattern"], row["frames"]) == (pattern, frames)]
            images = "single" if frames == 1 else f"groups of {frames}"
            cells.append([f"{pattern}, {images}, {name}", *(f"{100 * share:.0f} %" for share in chosen)])
    header = ["pattern, frames, reading", *(f"{100 * strength:.0f} %" for strength in _STRENGTHS)]
    return f"{runs} pairs of {side} x {side} pixels of white noise each, no window.\n\n{table(header, cells)}"


def main() -> None:
    """Simulate, print, and write where the options say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000, metavar="N")
    parser.add_argument("--side", type=int, default=256, metavar="N", help="of the frames")
    parser.add_argument("--quick", action="store_true", help="a few small frames: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the shares here")
    parser.add_argument("--docs", action="store_true", help="put the tables into independence.md")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.side = 5, 64
    powered = max(1, options.runs // 5)
    rows = {"null": false_alarms(options.runs, options.side), "power": power(powered, options.side)}
    texts = {
        "null": null_text(rows["null"], options.runs, options.side),
        "power": power_text(rows["power"], powered, options.side),
    }
    print("\n".join(texts.values()))
    if options.json is not None:
        options.json.write_text(json.dumps({k: {"rows": v} for k, v in rows.items()}, indent=1) + "\n")
    if options.docs:
        content = DOCS.read_text()
        for name, text in texts.items():
            begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
            before, rest = content.split(begin)
            content = f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"
        DOCS.write_text(content)


if __name__ == "__main__":
    main()
