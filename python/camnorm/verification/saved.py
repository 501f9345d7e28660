"""The result of a verification as its files keep it, for whoever shows it later."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from camnorm.errors import FormatError
from camnorm.verification.verdict import Verification

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SavedCurve", "SavedVerification", "load_verification"]

_NUMBERS = "verify.json"
_COLUMNS = ("nyquist", "correlation", "threshold_3sigma")
_NO_RESULT = "is no result of a verification: give the folder of `camnorm verify`, or the verify.json in it"


class SavedCurve(NamedTuple):
    """A ring correlation, (rings,) each."""

    nyquist: NDArray[np.float64]
    """Frequency as a fraction of Nyquist."""
    correlation: NDArray[np.float64]
    threshold: NDArray[np.float64]
    """3/sqrt(n/2), the paper's 3σ curve."""


@dataclass(frozen=True, eq=False)
class SavedVerification:
    """Numbers and curves of a verification.

    Attributes
    ----------
    numbers : dict
        As of `Verification.to_dict`.
    curves : dict
        `SavedCurve` by name, as of `Verification.curves`; empty if they are not kept.
    """

    numbers: dict[str, Any]
    curves: dict[str, SavedCurve]

    @classmethod
    def of(cls, result: Verification) -> SavedVerification:
        """What the files of a verification would keep."""
        curves = {
            name: SavedCurve(curve.nyquist, curve.correlation, curve.threshold("3sigma"))
            for name, curve in result.curves().items()
        }
        return cls(result.to_dict(), curves)


def load_verification(path: str | os.PathLike[str]) -> SavedVerification:
    """Read what `Verification.save` wrote.

    Parameters
    ----------
    path : path-like
        The folder, or the file verify.json in it. Curves are read from the CSV files beside it.

    Returns
    -------
    SavedVerification

    Raises
    ------
    FormatError
        A file that is something else.
    OSError
        If a file cannot be read.
    """
    file = Path(path)
    if file.is_dir():
        file /= _NUMBERS
    try:
        numbers = json.loads(file.read_text(encoding="utf-8"))
        for kind in ("pairs", "groups"):
            for state in ("raw", "corrected"):
                for key in ("independent", "p", "rings", "outside_3sigma", "mean_correlation"):
                    numbers[kind][state][key]
        for key in ("independent", "group", "statistics", "files"):
            numbers[key]
    except (ValueError, KeyError, TypeError):
        raise FormatError(file, _NO_RESULT) from None
    return SavedVerification(
        numbers,
        {
            table.stem.removeprefix("verify_"): _curve(table)
            for table in sorted(file.parent.glob("verify_*.csv"))
        },
    )


def _curve(path: Path) -> SavedCurve:
    with open(path, newline="", encoding="utf-8") as file:
        try:
            rows = list(csv.DictReader(file))
            return SavedCurve(*(np.array([float(row[name]) for row in rows]) for name in _COLUMNS))
        except (ValueError, KeyError, TypeError, csv.Error):
            raise FormatError(path, "is no table of a ring correlation of `camnorm verify`") from None
