"""Earlier measurements of the sensor on the page: what changed since then."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from camnorm.diagnosis.epochs.changes import Changes
from camnorm.diagnosis.epochs.comparison import compare
from camnorm.diagnosis.pixels.classify import classify_pixels
from camnorm.errors import Error
from camnorm.report.page.charts import Axis, Chart, Series, short
from camnorm.report.page.numbers import COUNTS
from camnorm.report.page.sections import Section, Table
from camnorm.sensor.sensor import Sensor

if TYPE_CHECKING:
    from camnorm.sensor.pixelmap import PixelMap

__all__ = ["Epoch", "epoch_of", "epochs_section", "older_epoch"]


@dataclass(frozen=True, eq=False)
class Epoch:
    """One measurement of the sensor, among others.

    Attributes
    ----------
    name, started : str
        Name of its file, and when it was measured.
    frames : int
        Frames in its statistics.
    target_mean, target_sigma : float
        Mean level and typical sigma, in units of the pixels; the mean over colour planes.
    bad_pixels : int or None
        None if they cannot be found.
    changes : Changes or None
        What changed from it to the sensor of the report; None for that sensor.
    """

    name: str
    started: str
    frames: int
    target_mean: float
    target_sigma: float
    bad_pixels: int | None
    changes: Changes | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        changes = self.changes
        return {
            "name": self.name,
            "started": self.started,
            "frames": self.frames,
            "target_mean": self.target_mean,
            "target_sigma": self.target_sigma,
            "bad_pixels": self.bad_pixels,
            "changed_pixels": None if changes is None else changes.changed_pixels,
            **{
                kind: None if changes is None else len(getattr(changes, kind))
                for kind in ("came", "went", "stayed", "moved")
            },
            "scale": None if changes is None else float(np.mean(changes.scale)),
        }


def epoch_of(sensor: Sensor, name: str, pixels: PixelMap | None, changes: Changes | None = None) -> Epoch:
    """Sum up a measurement."""
    return Epoch(
        name,
        str(sensor.provenance.get("started", "unknown")),
        sensor.count,
        float(np.mean(sensor.target_mean)),
        float(np.mean(sensor.target_sigma)),
        None if pixels is None else pixels.flagged,
        changes,
    )


def older_epoch(path: str | os.PathLike[str], sensor: Sensor) -> Epoch:
    """Sum up an earlier measurement, and compare it with a sensor; Error if it is of another sensor."""
    older = Sensor.load(path)
    changes = compare(older, sensor)
    try:
        pixels = classify_pixels(older)
    except Error:
        pixels = None
    return epoch_of(older, Path(path).name, pixels, changes)


def epochs_section(epochs: Sequence[Epoch]) -> Iterator[Section]:
    """The section of earlier measurements, if there are any; the last epoch is the sensor of the report."""
    if len(epochs) < 2:
        return
    changed = any(epoch.changes is not None and epoch.changes.found for epoch in epochs)
    yield Section(
        "epochs",
        "Trends over epochs",
        "The sensor changed since earlier measurements. Correct the frames of each epoch with its own "
        "measurement."
        if changed
        else "No pixel changed since earlier measurements.",
        charts=list(_charts(epochs)),
        tables=[
            Table(
                "Measurements of this sensor, and what changed from each to the last",
                (
                    "Measurement",
                    "Measured",
                    "Frames",
                    f"Mean level ({COUNTS})",
                    f"Sigma ({COUNTS})",
                    "Bad pixels",
                    "Changed pixels",
                    "Dust came, went, moved",
                    "Factor of the pattern",
                ),
                [_row(epoch) for epoch in epochs],
            )
        ],
        note="Changed pixels: mean or sigma differs by more than chance explains. Dust that came, went or "
        "moved leaves a wrong shade in frames that are corrected with the other measurement. A factor of the "
        "pattern other than 1 means another gain or exposure.",
    )


def _row(epoch: Epoch) -> tuple[str, ...]:
    changes = epoch.changes
    return (
        epoch.name,
        epoch.started,
        f"{epoch.frames:,}",
        short(float(f"{epoch.target_mean:.5g}")),
        short(float(f"{epoch.target_sigma:.4g}")),
        "unknown" if epoch.bad_pixels is None else f"{epoch.bad_pixels:,}",
        *(
            ("", "", "")
            if changes is None
            else (
                f"{changes.changed_pixels:,}",
                f"{len(changes.came)}, {len(changes.went)}, {len(changes.moved)}",
                short(float(f"{np.mean(changes.scale):.4g}")),
            )
        ),
    )


def _charts(epochs: Sequence[Epoch]) -> Iterator[Chart]:
    order = np.arange(1.0, len(epochs) + 1)
    axis = Axis("measurement, the oldest first", 0.5, len(epochs) + 0.5)
    for title, values, label in (
        ("Mean level", [epoch.target_mean for epoch in epochs], f"mean level ({COUNTS})"),
        ("Typical sigma", [epoch.target_sigma for epoch in epochs], f"sigma ({COUNTS})"),
        (
            "Bad pixels",
            [math.nan if epoch.bad_pixels is None else float(epoch.bad_pixels) for epoch in epochs],
            "bad pixels",
        ),
    ):
        known = np.array(values)
        yield Chart(
            f"{title} over the measurements",
            f"From {short(float(f'{known[0]:.4g}'))} to {short(float(f'{known[-1]:.4g}'))}.",
            axis,
            Axis(label),
            [Series("", order, known, 1), Series("", order, known, 1, "dots")],
        )
