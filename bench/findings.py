"""False alarms of the checks of a set, and how small a fault they find.

    python bench/findings.py [--runs N] [--seed N] [--json FILE] [--docs]

Simulated sets, measured as files are. --docs puts the tables into docs/explanation/findings.md.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import camnorm
from camnorm.screening import findings
from cleansets import CLEAN, COURSES, LEVELS, noisy
from harness import table

DOCS = Path(__file__).parents[1] / "docs" / "explanation" / "findings.md"

Array = npt.NDArray[Any]

# Small frames, from whose means the noise of pixels is all but averaged out.
_SHAPE = (16, 16)
_SIZES = (2, 4, 8, 30, 300)
_SHARES = (0.05, 0.1, 0.2, 0.33, 0.5)
_DISTANCES = (6, 8, 12, 20)
_HIT_SHARES = (1e-4, 3e-4, 1e-3, 3e-3)
_HEIGHTS = (10, 30, 100, 500)


def flagged(files: list[Array], folder: Path) -> set[str]:
    """Names of the findings that are flagged when these stacks are measured, a file each."""
    paths = [folder / f"{number:04d}.npy" for number in range(len(files))]
    for path, frames in zip(paths, files, strict=True):
        np.save(path, frames)
    try:
        return {found.name for found in findings(camnorm.measure(paths)) if found.flagged}
    finally:
        for path in paths:
            path.unlink()


def false_alarms(runs: int, seed: int, folder: Path) -> list[dict[str, Any]]:
    """How often each check is flagged in sets without faults."""
    rows = []
    for number, (name, make) in enumerate(CLEAN.items()):
        alarms: Counter[str] = Counter()
        for run in range(runs):
            found = flagged(make(np.random.default_rng([seed, number, run])), folder)
            alarms.update(found)
            alarms["any"] += bool(found)
        rows.append({"set": name, "runs": runs, "alarms": dict(alarms)})
        print(name, dict(alarms), flush=True)
    return rows


def _split(frames: Array, length: int) -> list[Array]:
    return [frames[first : first + length] for first in range(0, len(frames), length)]


def trends(runs: int, seed: int, folder: Path, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Shares of sets with a course of their levels in which a trend or a step is reported."""
    rows = []
    for noise, (draw, length) in LEVELS.items():
        for count in counts:
            for name, course in COURSES.items():
                shares = []
                for size in _SIZES:
                    seen = 0
                    for run in range(runs):
                        rng = np.random.default_rng([seed, count, run])
                        levels = 1000 + 10 * (draw(rng, count) + size * course(np.linspace(0, 1, count)))
                        found = flagged(_split(noisy(rng, levels, _SHAPE), length), folder)
                        # Levels that jump, or that keep near both ends of their range, are modes too.
                        seen += bool(found & {"mean_trend", "mean_steps", "modes"})
                    shares.append(seen / runs)
                rows.append({"noise": noise, "frames": count, "course": name, "shares": shares})
    return rows


def two_modes(runs: int, seed: int, folder: Path, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Shares of sets with two levels in which modes are reported."""
    rows = []
    for count in counts:
        for distance in _DISTANCES:
            shares = []
            for share in _SHARES:
                seen = 0
                for run in range(runs):
                    rng = np.random.default_rng([seed, count, run])
                    other = rng.permutation(count) < round(share * count)
                    levels = 1000 + 10 * (rng.normal(size=count) + distance * other)
                    seen += "modes" in flagged([noisy(rng, levels, _SHAPE)], folder)
                shares.append(seen / runs)
            rows.append({"frames": count, "distance": distance, "shares": shares})
    return rows


def rays(runs: int, seed: int, folder: Path, counts: tuple[int, ...]) -> list[dict[str, Any]]:
    """Shares of sets with hits of three pixels in which they are reported."""
    rows = []
    for count in counts:
        for share in _HIT_SHARES:
            shares = []
            for height in _HEIGHTS:
                seen = 0
                for run in range(runs):
                    rng = np.random.default_rng([seed, count, run])
                    frames = noisy(rng, rng.normal(1000, 20, count), (192, 192)).astype(np.int64)
                    for frame in frames:
                        for _ in range(max(1, round(share * frame.size / 3))):
                            y, x = rng.integers(0, 192), rng.integers(0, 190)
                            frame[y, x : x + 3] += int(12 * height * rng.uniform(0.5, 1.5))
                    seen += "hits" in flagged([frames.clip(0, 65535).astype(np.uint16)], folder)
                shares.append(seen / runs)
            rows.append({"frames": count, "share": share, "shares": shares})
    return rows


def texts(rows: dict[str, list[dict[str, Any]]], runs: int, seed: int) -> dict[str, str]:
    """The tables by name."""

    def percents(shares: list[float]) -> list[str]:
        return [f"{100 * share:.0f} %" for share in shares]

    names = sorted({name for row in rows["clean"] for name in row["alarms"]} - {"any"})
    clean = [
        [row["set"], *(f"{100 * row['alarms'].get(name, 0) / row['runs']:.1f} %" for name in [*names, "any"])]
        for row in rows["clean"]
    ]
    number = sum(row["runs"] for row in rows["clean"])
    total = [
        f"{100 * sum(row['alarms'].get(name, 0) for row in rows['clean']) / number:.2f} %"
        for name in [*names, "any"]
    ]
    courses = [[r["noise"], str(r["frames"]), r["course"], *percents(r["shares"])] for r in rows["trends"]]
    modes = [[str(r["frames"]), str(r["distance"]), *percents(r["shares"])] for r in rows["modes"]]
    found = [[str(r["frames"]), f"{100 * r['share']:g} %", *percents(r["shares"])] for r in rows["hits"]]
    said = f"Seed {seed}; {runs} sets"
    return {
        "clean": f"Seed {seed}; {number} sets. Checks that are not named raised none.\n\n"
        + table(["set", *names, "any"], [*clean, ["all", *total]]),
        "trends": f"{said} each; the range of the course in standard deviations of the levels.\n\n"
        + table(["levels", "frames", "course", *map(str, _SIZES)], courses),
        "modes": f"{said} each, of one file; the distance in standard deviations of a mode.\n\n"
        + table(["frames", "distance", *percents(list(_SHARES))], modes),
        "hits": f"{said} of 192 x 192 pixels each; heights in standard deviations of a pixel.\n\n"
        + table(["frames", "pixels hit in a frame", *map(str, _HEIGHTS)], found),
    }


def main() -> None:
    """Simulate, print, and write where the options say."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, metavar="N", help="sets of each kind without faults")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--quick", action="store_true", help="a set of each kind: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rates here")
    parser.add_argument("--docs", action="store_true", help="put the tables into findings.md")
    options = parser.parse_args()
    runs, planted = (1, 1) if options.quick else (options.runs, max(1, options.runs // 10))
    counts = (30,) if options.quick else (30, 100, 200)
    of_hits = (12,) if options.quick else (6, 12, 30, 100)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = {
            "clean": false_alarms(runs, options.seed, folder),
            "trends": trends(planted, options.seed, folder, counts),
            "modes": two_modes(planted, options.seed, folder, counts),
            "hits": rays(max(1, planted // 3), options.seed, folder, of_hits),
        }
    content = texts(rows, planted, options.seed)
    print("\n\n".join(content.values()))
    if options.json is not None:
        options.json.write_text(json.dumps({k: {"rows": v} for k, v in rows.items()}, indent=1) + "\n")
    if options.docs:
        page = DOCS.read_text()
        for name, text in content.items():
            begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
            before, rest = page.split(begin)
            page = f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}"
        DOCS.write_text(page)


if __name__ == "__main__":
    main()
