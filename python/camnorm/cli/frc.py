"""``camnorm frc``: the Fourier ring correlation of two frames."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

import camnorm
from camnorm.cli.helptext import described
from camnorm.cli.options import (
    AsJson,
    Dataset,
    Debug,
    Defects,
    EerGrouping,
    EerSampling,
    FollowLinks,
    Gain,
    GainFlip,
    GainRotate,
    GainUse,
    Int16Pixels,
    MrcMode0,
    Raw,
    Threads,
    Tiff4Bit,
    Window,
    read_options_of,
    window_of,
)
from camnorm.cli.results import check_figure, print_facts, print_json, print_rich
from camnorm.cli.session import session
from camnorm.cli.verbs import VERBS
from camnorm.fourier.curve import CURVE_MARK
from camnorm.io import Protected, check_content, is_flipped
from camnorm.io.base.remarks import Remarks
from camnorm.io.base.settling import settled_catalogue
from camnorm.verification.table import assessment_table, p_in_words
from camnorm.verification.verdict import Assessment

if TYPE_CHECKING:
    from camnorm import ReadOptions, RingCorrelation

__all__ = ["frc"]

Binning: TypeAlias = Literal["round", "floor"]

# Rings that are printed; --json and --csv hold all.
_RINGS_SHOWN = 24


@described(
    VERBS["frc"],
    "camnorm frc a.mrc b.mrc",
    "camnorm frc movie.mrc movie.mrc --frame-b 7 --window hann",
    "camnorm frc a.tif b.tif --csv curve.csv --plot curve.png",
)
def frc(
    a: Annotated[Path, typer.Argument(metavar="A", show_default=False, help="Image file.")],
    b: Annotated[Path, typer.Argument(metavar="B", show_default=False, help="Image file, or the same.")],
    mrc_mode0: MrcMode0 = None,
    tiff_4bit: Tiff4Bit = None,
    eer_grouping: EerGrouping = None,
    eer_sampling: EerSampling = None,
    dataset: Dataset = None,
    raw: Raw = None,
    gain: Gain = None,
    gain_rotate: GainRotate = None,
    gain_flip: GainFlip = None,
    gain_operation: GainUse = None,
    defects: Defects = None,
    follow_links: FollowLinks = False,
    int16: Int16Pixels = None,
    frame_a: Annotated[int, typer.Option(min=0, metavar="N", help="Frame of A, from 0.")] = 0,
    frame_b: Annotated[int, typer.Option(min=0, metavar="N", help="Frame of B, from 0.")] = 0,
    window: Window = "none",
    binning: Annotated[
        Binning, typer.Option(metavar="NAME", help="How radii are assigned to rings: round or floor.")
    ] = "round",
    corners: Annotated[bool, typer.Option("--corners", help="Include rings beyond Nyquist.")] = False,
    csv: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", show_default=False, help="Write the curve as CSV; one file for each colour plane."
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Draw the curve: .png, .pdf or .svg."),
    ] = None,
    threads: Threads = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    gain_use = gain, gain_rotate, gain_flip, gain_operation
    places = follow_links, None
    options = read_options_of(
        mrc_mode0, tiff_4bit, eer_grouping, eer_sampling, dataset, raw, gain_use, defects, places, int16
    )
    with session(debug):
        _, options = settled_catalogue([a, b], options or camnorm.ReadOptions())
        protected = Protected([a, b])
        if plot is not None:
            protected.check(plot)
            check_figure(plot)
        one, other = _read_frames([(a, frame_a), (b, frame_b)], options)
        found = camnorm.frc(
            one,
            other,
            binning=binning,
            window=window_of(window),
            corners=corners,
            threads=threads,
        )
        colour = isinstance(found, list)
        curves = found if isinstance(found, list) else [found]
        assessment = Assessment(tuple(curves), alpha=0.05)
        if csv is not None:
            _write_tables(curves, _tables(csv, len(curves)) if colour else [csv], protected)
        if plot is not None:
            camnorm.plot.save(camnorm.plot.frc_figure({f"{a.name} and {b.name}": curves}), plot)
        if as_json:
            print_json(
                {
                    "a": {"file": a, "index": frame_a},
                    "b": {"file": b, "index": frame_b},
                    "shape": curves[0].shape,
                    "binning": binning,
                    "window": window_of(window),
                    **assessment.to_dict(),
                    "curves": [_columns(curve) for curve in curves],
                }
            )
        else:
            print_facts([("verdict", _verdict(assessment))])
            print()
            print(assessment_table({"A and B": assessment}))
            for plane, curve in enumerate(curves):
                print()
                _print_curve(f"plane {plane}" if colour else "FRC", curve)


def _verdict(assessment: Assessment) -> str:
    """The verdict with its reason."""
    p = p_in_words(assessment.p).removeprefix("<")
    p = f"p {'<' if assessment.p < 1e-16 else '='} {p}"
    if assessment.independent:
        return f"Independent: the frames have no more in common than by chance ({p})."
    if assessment.lines and assessment.p >= assessment.alpha:
        return "Correlated: both frames have lines at the same frequency."
    return f"Correlated: the frames have more in common than by chance ({p})."


def _read_frames(places: Sequence[tuple[Path, int]], options: ReadOptions) -> list[Any]:
    """The frames, the same way up."""
    frames, remarks = [], Remarks()
    for path, index in places:
        with camnorm.open_frames(path, options) as source:
            if index >= source.count:
                raise camnorm.Error(f"{path}: no frame {index}, the last is {source.count - 1}")
            if is_flipped(source.origin.row_order, options.row_order):
                other = "top" if options.row_order == "bottom" else "bottom"
                first = (
                    f"{places[0][0].name} has its {options.row_order} row first, {path.name} its {other} row"
                )
                warnings.warn(f"{first}: the rows of {path.name} are flipped", stacklevel=2)
            frames.append(source.read(index)[0])
            source.check_whole()
            remarks.add(path, source.remarks)
            options = replace(options, row_order=options.row_order or source.row_order)
    remarks.warn()
    return frames


def _tables(csv: Path, planes: int) -> list[Path]:
    """The table of each colour plane."""
    return [csv.with_name(f"{csv.stem}_{plane}{csv.suffix}") for plane in range(planes)]


def _write_tables(curves: Sequence[RingCorrelation], tables: Sequence[Path], protected: Protected) -> None:
    """Write a table for each curve, or none if one of them would replace another file."""
    for table in tables:
        protected.check(table)
        check_content(table, CURVE_MARK, "a table of a ring correlation")
    for table, curve in zip(tables, curves, strict=True):
        curve.to_csv(table)


def _columns(curve: RingCorrelation) -> dict[str, list[float]]:
    return {
        "radius": curve.radius.tolist(),
        "frequency": curve.frequency.tolist(),
        "nyquist": curve.nyquist.tolist(),
        "n": curve.n.tolist(),
        "correlation": curve.correlation.tolist(),
        "z": curve.z.tolist(),
        "threshold_3sigma": curve.threshold("3sigma").tolist(),
        "threshold_3sigma_exact": curve.threshold("3sigma-exact").tolist(),
    }


def _print_curve(name: str, curve: RingCorrelation) -> None:
    """Print some rings, evenly spaced from the first beyond DC to the last."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("ring", "cycles/pixel", "of Nyquist", "pixels", name, "±3σ", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    columns = _columns(curve)
    last = len(columns["radius"]) - 1
    shown = min(last, _RINGS_SHOWN)
    rings = [1 + round(i * (last - 1) / max(shown - 1, 1)) for i in range(shown)]
    for ring in rings:
        correlation, threshold = columns["correlation"][ring], columns["threshold_3sigma"][ring]
        table.add_row(
            str(ring),
            f"{columns['frequency'][ring]:.4f}",
            f"{columns['nyquist'][ring]:.3f}",
            str(columns["n"][ring]),
            f"{correlation:+.4f}",
            f"{threshold:.4f}",
            "outside" if abs(correlation) > threshold else "",
        )
    print_rich(table)
    if shown < last:
        print(f"{shown} of {last} rings; --csv writes all")
