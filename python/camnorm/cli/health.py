"""``camnorm health``: the bad pixels of a sensor, and what is wrong with them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import camnorm
from camnorm.application.hotsearch import find_hot_pixels
from camnorm.cli.helptext import described
from camnorm.cli.nextsteps import inputs_of
from camnorm.cli.options import AsJson, Debug, Quiet, SensorArgument
from camnorm.cli.pixelfacts import class_facts, share_of
from camnorm.cli.progress import ProgressBar
from camnorm.cli.results import print_facts, print_json
from camnorm.cli.session import session
from camnorm.cli.verbs import VERBS
from camnorm.diagnosis.finding import count_of
from camnorm.io import Protected
from camnorm.measurement.neighbours import measure_neighbours
from camnorm.sensor.pixelfile import SUFFIXES, check_pixels_target, save_pixels

if TYPE_CHECKING:
    from camnorm import PixelMap, Sensor
    from camnorm.application.hotpixels import HotPixels

__all__ = ["health"]

# Lines, interpolated pixels and large clusters that are printed.
_SHOWN = 5


@described(
    VERBS["health"],
    "camnorm health sensor.h5",
    "camnorm health sensor.h5 -o pixels.h5",
    "camnorm health sensor.h5 --frames movies/",
    "camnorm health sensor.h5 -o defects.txt --overwrite",
    details="Compares the mean and the sigma of every pixel with those of its neighbours. Dust, uneven light "
    "and steps between readout blocks are not reported.",
)
def health(
    sensor: SensorArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            show_default=False,
            help="Write the bad pixels: .h5 (everything), .mrc or .tif (an image, 1 at bad pixels), .txt "
            "(defects for RELION and MotionCor), .csv (a row for each pixel, with the reason).",
        ),
    ] = None,
    frames: Annotated[
        list[str] | None,
        typer.Option(
            "--frames",
            metavar="INPUT",
            show_default=False,
            help="Also read these movies: finds pixels made from their neighbours in a sample of the "
            "frames, and hot pixels that come and go in each movie.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a map of bad pixels.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    _check_suffix(output)
    with session(debug) as signals:
        if output is not None:
            check_pixels_target(output)
        loaded = camnorm.Sensor.load(sensor)
        neighbours, hot = None, None
        if frames:
            with ProgressBar(quiet, signals) as bar:
                if loaded.neighbours is None:  # else it has those of all its frames
                    neighbours = measure_neighbours(frames, loaded, progress=bar)
                hot = find_hot_pixels(frames, loaded, progress=bar)
        pixels = camnorm.classify_pixels(loaded, neighbours)
        if output is not None:
            save_pixels(pixels, output, overwrite=overwrite, protected=Protected([sensor]))
        if as_json:
            found = {**pixels.to_dict(), "hot": None if hot is None else _hot_in_files(hot)}
            print_json({"sensor": sensor, **found, "frames": loaded.count, "output": output})
        else:
            print_facts(_verdict(pixels, loaded, sensor, output))
            print()
            print_facts(_facts(pixels))
            if hot is not None:
                print_facts([("hot at times", _hot_in_words(hot))])
            if output is not None:
                print_facts([("written", output)])


def _hot_in_files(hot: Sequence[HotPixels]) -> list[dict[str, object]]:
    """Pixels that are hot in some files, those in most files first, and these files."""
    files: dict[tuple[int, ...], list[Path]] = {}
    for file in hot:
        for place in file.places:
            files.setdefault(place, []).append(file.path)
    ordered = sorted(files.items(), key=lambda item: (-len(item[1]), item[0]))
    return [{"x": place[0], "y": place[1], "files": paths} for place, paths in ordered]


def _hot_in_words(hot: Sequence[HotPixels]) -> str:
    found = _hot_in_files(hot)
    if not found:
        return f"none in {count_of(len(hot), 'file')}"
    words = []
    for pixel in found:
        files = pixel["files"]
        assert isinstance(files, list)
        words.append(f"({pixel['x']}, {pixel['y']}) in {len(files)} of {count_of(len(hot), 'file')}")
    return _list(words)


def _check_suffix(output: Path | None) -> None:
    if output is not None and output.suffix.lower() not in SUFFIXES:
        raise typer.BadParameter(
            f"{output}: the suffix must be one of {', '.join(SUFFIXES)}.", param_hint="--output"
        )


def _verdict(
    pixels: PixelMap, sensor: Sensor, path: Path, output: Path | None
) -> Iterator[tuple[str, object]]:
    """How many bad pixels there are, and what to do about them."""
    if not pixels.flagged:
        yield "verdict", "No bad pixels were found."
        return
    yield "verdict", f"{share_of(pixels)}: conceal them when you correct."
    name = shlex.quote(str(path))
    if output is None:
        yield "next", f"camnorm health {name} -o pixels.h5"
    else:
        yield (
            "next",
            f"camnorm correct {inputs_of(sensor)} -m {name} --pixels {shlex.quote(str(output))} -o corrected",
        )


def _facts(pixels: PixelMap) -> Iterator[tuple[str, object]]:
    """Classes, lines and clusters."""
    height, width = pixels.shape
    yield "frames", f"{pixels.frames} of {height} x {width} pixels"
    yield from class_facts(pixels)
    lines = [
        f"{'column' if line.direction == 'column' else 'row'} "
        f"{line.x if line.direction == 'column' else line.y}"
        + ("" if line.full else f" ({max(line.width, line.height)} pixels)")
        for line in pixels.lines
    ]
    yield "lines", _list(lines)
    groups = pixels.summary["clusters"]
    words = [f"{groups[kind]} {kind}" for kind in ("single", "double", "triple", "larger") if groups[kind]]
    yield "clusters", ", ".join(words) or "none"
    for group in pixels.clusters:
        if group.kind == "region":
            across, along = _range(group.x, group.width), _range(group.y, group.height)
            yield "no signal", f"{group.pixels:,} pixels within x {across}, y {along}"
    made = [
        f"({pixel['x']}, {pixel['y']}) from {pixel['neighbours']}"
        for pixel in pixels.to_dict()["interpolated"]
    ]
    if made:
        yield "made from", _list(made)


def _range(start: int, size: int) -> str:
    return f"{start} to {start + size - 1}" if size > 1 else str(start)


def _list(words: list[str]) -> str:
    more = f" and {len(words) - _SHOWN} more (-o FILE.csv or --json lists all)" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more or "none"
