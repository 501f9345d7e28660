"""The verdict of a verification: curves, what they say of independence, and the files of both."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from camnorm import jsontext
from camnorm.diagnosis.convergence import Convergence
from camnorm.diagnosis.finding import Finding
from camnorm.diagnosis.fixedpattern import FixedPattern
from camnorm.fourier.curve import CURVE_MARK, RingCorrelation
from camnorm.fourier.independence import Independence
from camnorm.io.base.atomic import atomic_target, check_content
from camnorm.verification.alternation import Alternation

__all__ = ["Assessment", "Comparison", "PixelShare", "Verification"]


@dataclass(frozen=True, eq=False)
class Assessment:
    """Ring correlation of two images, or of several pairs, and what it says of independence.

    Attributes
    ----------
    curves : tuple of RingCorrelation
        One for grey frames, one a plane for colour frames; of several pairs, these combined.
    alpha : float
        Level at which `independent` is decided.
    corners : bool
        Whether rings beyond Nyquist are tested too.
    p_of_pairs : tuple of float
        Family-wise p of each pair alone.
    """

    curves: tuple[RingCorrelation, ...]
    alpha: float
    corners: bool = False
    p_of_pairs: tuple[float, ...] = ()

    @classmethod
    def of_pairs(
        cls, pairs: Sequence[tuple[RingCorrelation, ...]], alpha: float, corners: bool, common: float
    ) -> Assessment:
        """Put pairs of images together, z of which have the correlation `common` by what they share."""
        curves = tuple(RingCorrelation.combined(planes, common) for planes in zip(*pairs, strict=True))
        return cls(curves, alpha, corners, tuple(cls(pair, alpha, corners).p for pair in pairs))

    @cached_property
    def _verdicts(self) -> list[Independence]:
        return [curve.independence(corners=self.corners) for curve in self.curves]

    @property
    def rings(self) -> int:
        """Rings looked at, over all planes."""
        return sum(v.rings for v in self._verdicts)

    @property
    def outside_3sigma(self) -> int:
        """Rings outside ±3σ (3/sqrt(n/2)), over all planes."""
        return sum(v.outside_3sigma for v in self._verdicts)

    @property
    def expected_outside_3sigma(self) -> float:
        """Rings expected there by chance."""
        return sum(v.expected_outside_3sigma for v in self._verdicts)

    @property
    def outside_exact(self) -> int:
        """Rings outside the exact 0.27 % curve, over all planes."""
        return sum(v.outside_exact for v in self._verdicts)

    @property
    def expected_outside_exact(self) -> float:
        """Rings expected there by chance."""
        return sum(v.expected_outside_exact for v in self._verdicts)

    @property
    def mean_correlation(self) -> float:
        """Mean correlation over rings and planes."""
        return float(np.mean([v.mean_correlation for v in self._verdicts]))

    @property
    def mean_correlation_error(self) -> float:
        """Its standard deviation if the images are independent."""
        errors = [v.mean_correlation_error for v in self._verdicts]
        return float(np.sqrt(np.sum(np.square(errors))) / len(errors))

    @property
    def z(self) -> float:
        """Combined z of all rings, of the plane where it is largest."""
        return max(v.z for v in self._verdicts)

    @property
    def p(self) -> float:
        """Family-wise p, Bonferroni over planes."""
        return min(1.0, len(self.curves) * min(v.p for v in self._verdicts))

    @property
    def lines(self) -> int:
        """Rings with lines of the same frequency in both images, over all planes."""
        return sum(v.lines for v in self._verdicts)

    @property
    def independent(self) -> bool:
        """True if the correlation is no more than chance gives: ``p >= alpha``, and no `lines`."""
        return self.p >= self.alpha and not self.lines

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        return {
            "rings": self.rings,
            "outside_3sigma": self.outside_3sigma,
            "expected_outside_3sigma": self.expected_outside_3sigma,
            "outside_exact": self.outside_exact,
            "expected_outside_exact": self.expected_outside_exact,
            "lines": self.lines,
            "mean_correlation": self.mean_correlation,
            "mean_correlation_error": self.mean_correlation_error,
            "z": self.z,
            "p": self.p,
            "p_of_pairs": list(self.p_of_pairs),
            "alpha": self.alpha,
            "independent": self.independent,
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """The same images raw and corrected."""

    raw: Assessment
    corrected: Assessment
    predicted_bias: float
    """Correlation of the corrected images that shared statistics alone would give: g/(M + g) for averages of
    g frames and M frames in the statistics, 0 if each has statistics of its own."""
    floor: float
    """Correlation of such images if they are part of the set, N frames, and the whole set corrects them, as
    `correct` does: -g/(N - g). Ring correlations of corrected data are not to be read below its modulus. NaN
    if the set is no larger than the average."""


@dataclass(frozen=True, eq=False)
class PixelShare:
    """What the bad pixels of a map contribute to the correlation of group averages.

    Attributes
    ----------
    flagged : int
        Number of bad pixels.
    raw : Assessment
        Of the raw averages.
    raw_concealed : Assessment
        The same with the bad pixels filled from their neighbours.
    corrected_kept : Assessment
        Of the corrected averages if the bad pixels are corrected like others.
    """

    flagged: int
    raw: Assessment
    raw_concealed: Assessment
    corrected_kept: Assessment

    @property
    def share(self) -> float:
        """Share of the raw correlation that the bad pixels carry; NaN if there is hardly any correlation."""
        whole, error = self.raw.mean_correlation, self.raw.mean_correlation_error
        if not whole > 3 * error:
            return float("nan")
        return min(max(1 - self.raw_concealed.mean_correlation / whole, 0.0), 1.0)

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""
        return {
            "flagged": self.flagged,
            "share": self.share,
            "raw_concealed": self.raw_concealed.to_dict(),
            "corrected_kept": self.corrected_kept.to_dict(),
        }


@dataclass(frozen=True, eq=False)
class Verification:
    """Result of `verify`.

    Attributes
    ----------
    pairs : Comparison
        Of single frames, the first of each group; over all pairs of groups.
    groups : Comparison
        Of the averages of groups; over all pairs of groups.
    files : tuple of lists of (path, frame index)
        The test frames of each group; groups 1 and 2 are a pair, 3 and 4, and so on.
    statistics : tuple of two int
        Number of frames in the statistics that corrected the first and the second group of each pair.
    same_statistics : bool
        True if both groups were corrected with the same statistics.
    adjustments : str
        What of mode, keep_illumination and shrink was set, as corrected files note it.
    window : str or None
        Window of the transforms.
    seed : int
        Seed of the choice of test frames.
    notes : list of str
        What the user should know of the choice.
    findings : list of Finding
        What `camnorm.check` found of the measured set, test frames included; before that, kinds of files that
        alternate if there are any.
    rejected : list of (path, reason)
        Files that were left out, since their frames are of another shape or kind than the sensor's.
    outside_limits : int
        Test frames whose mean or standard deviation lies outside the limits of the sensor.
    convergence : Convergence, optional
        How precise the measurement is, and what more frames would give.
    fixed_pattern : FixedPattern, optional
        How strong the pattern is and what it costs; None if the set is too small to tell.
    pixels : PixelShare, optional
        What the bad pixels of the map contribute, if there was one.
    alternation : Alternation, optional
        Whether kinds of files alternate, each of which keeps a pattern of its own.
    """

    pairs: Comparison
    groups: Comparison
    files: tuple[list[tuple[str, int]], ...]
    statistics: tuple[int, int]
    same_statistics: bool
    adjustments: str
    window: str | None
    seed: int
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    convergence: Convergence | None = None
    fixed_pattern: FixedPattern | None = None
    alternation: Alternation | None = None
    pixels: PixelShare | None = None
    rejected: list[tuple[str, str]] = field(default_factory=list)
    outside_limits: int = 0

    @property
    def independent(self) -> bool:
        """The verdict: corrected single frames and group averages are independent, and no kinds alternate."""
        alternates = self.alternation is not None and self.alternation.found
        return self.pairs.corrected.independent and self.groups.corrected.independent and not alternates

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers, ready for JSON."""

        def both(comparison: Comparison) -> dict[str, Any]:
            return {
                "raw": comparison.raw.to_dict(),
                "corrected": comparison.corrected.to_dict(),
                "predicted_bias": comparison.predicted_bias,
                "floor": comparison.floor,
            }

        return {
            "independent": self.independent,
            "pairs": both(self.pairs),
            "groups": both(self.groups),
            "group": len(self.files[0]),
            "files": [[{"file": path, "index": index} for path, index in group] for group in self.files],
            "statistics": list(self.statistics),
            "same_statistics": self.same_statistics,
            "adjustments": self.adjustments,
            "window": self.window,
            "seed": self.seed,
            "notes": self.notes,
            "rejected": [{"file": path, "index": None, "reason": reason} for path, reason in self.rejected],
            "outside_limits": self.outside_limits,
            "findings": [finding.to_dict() for finding in self.findings],
            "convergence": self.convergence and self.convergence.to_dict(),
            "fixed_pattern": self.fixed_pattern and self.fixed_pattern.to_dict(),
            "alternation": self.alternation and self.alternation.to_dict(),
            "pixels": self.pixels and self.pixels.to_dict(),
        }

    def curves(self) -> dict[str, RingCorrelation]:
        """Return every curve by name: pair_raw, pair_corrected, groups_raw, groups_corrected.

        For colour frames the number of the plane is added: pair_raw_0.
        """
        named: dict[str, RingCorrelation] = {}
        for name, comparison in (("pair", self.pairs), ("groups", self.groups)):
            for state, assessment in (("raw", comparison.raw), ("corrected", comparison.corrected)):
                for plane, curve in enumerate(assessment.curves):
                    suffix = f"_{plane}" if len(assessment.curves) > 1 else ""
                    named[f"{name}_{state}{suffix}"] = curve
        return named

    def save(self, directory: str | os.PathLike[str]) -> list[Path]:
        """Write verify.json, verify.png and a CSV file a curve.

        Parameters
        ----------
        directory : path-like
            Made if it is not there; files of these names that hold another verification are replaced.

        Returns
        -------
        list of Path
            The files written.

        Raises
        ------
        Error
            If there is a file of one of these names that holds something else.
        OSError
            If one cannot be written.
        """
        from camnorm.report import plot

        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        numbers, figure = folder / "verify.json", folder / "verify.png"
        size = len(self.files[0])
        panels = {
            "single frames, raw": self.pairs.raw.curves,
            "single frames, corrected": self.pairs.corrected.curves,
            f"averages of {size}, raw": self.groups.raw.curves,
            f"averages of {size}, corrected": self.groups.corrected.curves,
        }
        tables = {folder / f"verify_{name}.csv": curve for name, curve in self.curves().items()}
        check_content(numbers, b'"same_statistics"', "a result of a verification")
        check_content(figure, plot.MARK.encode(), "a figure of camnorm")
        for table in tables:
            check_content(table, CURVE_MARK, "a table of a ring correlation")
        with atomic_target(numbers, overwrite=True) as temporary:
            Path(temporary).write_text(jsontext.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        plot.save(plot.frc_figure(panels), figure)
        for table, curve in tables.items():
            curve.to_csv(table)
        return [numbers, figure, *tables]
