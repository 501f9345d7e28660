"""Screening: which frames are left out of a set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from camnorm.statistics.sequences import robust_scale

DEFAULT_K = 6.0

# Of fewer frames the median absolute deviation says too little: of sets of 5 good frames one in six would
# lose a frame at k = 6, of sets of 10 one in thirty, of sets of 30 one in three hundred.
FEWEST_FRAMES = 10
# The same of files, as the frames of a movie show one specimen. Files with few of the frames count as part
# of one: the number is (Σn)²/Σn² for n frames each.
FEWEST_FILES = 10
# A movie shows another specimen if all but a few of its frames lie this many standard errors off.
_OTHER_SPECIMEN = 5.0
_FEW_OF_A_MOVIE = 0.25

# A frame is blank if its standard deviation is less than this share of the median one, or if it is too
# dark, its mean less than this share of the way up from the darkest pixels to the median mean, and its
# standard deviation less than half of the median one.
_BLANK_STD = 0.1
_BLANK_MEAN = 0.05
_DARK_STD = 0.5

# Frames, and share of all, whose brightest pixels must be equal to be taken for the detector's maximum.
_TOP_FRAMES = 3
_TOP_SHARE = 0.1

# Reasons in the frame table begin like this; findings tell frames apart by it.
_SCREENED = "screened: "
BLANK = _SCREENED + "blank, "
SATURATED = _SCREENED + "saturated, "
COPY = _SCREENED + "copy of "

WORDS = {"mean": "mean", "std": "standard deviation"}


Range = tuple[float | None, float | None]
"""Lowest and highest value; None for an open end."""


@dataclass(frozen=True)
class Limits:
    """Lowest and highest value that is accepted."""

    low: float
    high: float

    @classmethod
    def of(cls, name: str, value: Range) -> Limits:
        """Take over limits that an argument of this name gives; ValueError if they make no sense."""
        low, high = (
            infinity if end is None else float(end)
            for end, infinity in zip(value, (-math.inf, math.inf), strict=True)
        )
        if not low <= high or low == math.inf or high == -math.inf:
            raise ValueError(f"{name} must be (low, high), the low one not above the high one, not {value!r}")
        return cls(low, high)

    def outside(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Tell which of the values lie outside."""
        return (values < self.low) | (values > self.high)

    def as_list(self) -> list[float | None]:
        """Both, open ends as None."""
        return [limit if math.isfinite(limit) else None for limit in (self.low, self.high)]


@dataclass(frozen=True)
class Rules:
    """What frames are screened by.

    Attributes
    ----------
    k : float, optional
        Half width of the limits in robust standard deviations of the set; None: the set sets no limits, and
        blank, saturated and repeated frames are kept.
    given : dict
        `Limits` of "mean" and "std" that the user has set.
    """

    k: float | None
    given: Mapping[str, Limits]

    @classmethod
    def of(cls, screen: str | float, mean: Range | None, std: Range | None, *, listed: bool) -> Rules:
        """Take over the arguments of `measure`; ValueError if they make no sense.

        Parameters
        ----------
        screen, mean, std
            As `screen`, `mean_limits` and `std_limits` of `measure`.
        listed : bool
            Whether there is a list of frames.

        Returns
        -------
        Rules
        """
        given = {
            name: Limits.of(f"{name}_limits", value)
            for name, value in (("mean", mean), ("std", std))
            if value
        }
        if screen == "off" or (screen == "auto" and listed):
            return cls(None, given)
        if screen == "auto":
            return cls(DEFAULT_K, given)
        if isinstance(screen, str) or not 0 < screen < math.inf:
            raise ValueError(f"screen must be 'auto', 'off' or a positive number, not {screen!r}")
        return cls(float(screen), given)


def robust_limits(values: npt.NDArray[np.float64], k: float) -> Limits:
    """Median ± k·MAD.

    Parameters
    ----------
    values : float64 ndarray, shape (n,)
        Finite values, at least one.
    k : float
        Half width in units of the median absolute deviation, scaled by 1.4826 so that it estimates the
        standard deviation of a normal distribution.

    Returns
    -------
    Limits

    Notes
    -----
    More than half the values being equal makes the MAD 0; the mean absolute deviation, times 1.2533,
    replaces it then (Iglewicz & Hoaglin, "How to Detect and Handle Outliers", 1993).
    """
    median = float(np.median(values))
    # Frames that differ by rounding errors only must not be told apart.
    scale = max(robust_scale(values - median), 1e-12 * abs(median))
    return Limits(median - k * scale, median + k * scale)


def _set_limits(
    values: npt.NDArray[np.float64], files: npt.NDArray[np.intp], typical: npt.NDArray[np.bool_], k: float
) -> Limits:
    """Limits that the values of frames set: median ± k·MAD, wider if few movies have most of the frames.

    These limits reflect the specimens of those movies. A movie that shows another is not left out as a whole:
    the limits then include the median of its `typical` frames ± k·MAD, where the MAD is that of frames about
    the median of their movie.
    """
    limits = robust_limits(values, k)
    counts = np.bincount(files)
    if counts.size == 1 or counts.sum() ** 2 >= FEWEST_FILES * (counts**2).sum() or not typical.any():
        return limits
    values, files = values[typical], np.unique(files[typical], return_inverse=True)[1]
    movies = np.split(values[np.argsort(files, kind="stable")], np.cumsum(np.bincount(files))[:-1])
    medians = np.array([np.median(movie) for movie in movies])
    # As many deviations are lost as there are medians.
    freedom = max(values.size - medians.size, 1) / values.size
    scatter = robust_scale(values - medians[files]) / math.sqrt(freedom)
    low, high = limits.low, limits.high
    for movie, median in zip(movies, medians, strict=True):
        away = abs(median - np.median(values))
        nearest = np.quantile(np.sign(median - np.median(values)) * (movie - median), _FEW_OF_A_MOVIE)
        if away + nearest > _OTHER_SPECIMEN * scatter / math.sqrt(movie.size):
            low, high = min(low, median - k * scatter), max(high, median + k * scatter)
    return Limits(low, high)


def screen(
    frames: npt.NDArray[np.void], rules: Rules, dtype: np.dtype[Any]
) -> tuple[dict[str, Limits], dict[int, str]]:
    """Find the frames that are to be left out.

    Parameters
    ----------
    frames : structured ndarray
        Frame table; only accepted frames are looked at.
    rules : Rules
        What by.
    dtype : numpy.dtype
        Type of the pixels, for the largest value that they can have.

    Returns
    -------
    limits : dict
        `Limits` of ``mean`` and ``std`` that the set itself sets, as median ± k·MAD over frames that are
        within the limits given and neither blank nor saturated; none for fewer than ten of these. They are
        so wide that no movie is left out as a whole if fewer than ten movies have most of the frames.
    reasons : dict
        Row number of each deviant frame and the reason in words.
    """
    rows = np.flatnonzero(frames["status"] == "accepted")
    reasons: dict[int, str] = {}

    def reject(bad: npt.NDArray[np.intp], text: str, field: str) -> None:
        for row in bad.tolist():
            said = text.format(frames[field][row])
            reasons[row] = f"{reasons[row]}; {said}" if row in reasons else f"{_SCREENED}{said}"

    for field, limits in rules.given.items():
        text = f"{WORDS[field]} {{:.6g}} outside the limits given, {_range(limits)}"
        reject(rows[limits.outside(frames[field][rows])], text, field)
    found: dict[str, Limits] = {}
    if rules.k is None:
        return found, reasons
    rows = np.setdiff1d(rows, list(reasons))
    blank, saturated = blank_frames(frames[rows]), saturated_frames(frames[rows], dtype)
    if saturated.mean() < 0.5 if rows.size else False:
        blank &= ~saturated
        reject(rows[saturated], "saturated, mean {:.6g} at the maximum", "mean")
    else:
        saturated[:] = False  # a property of the set, which has a finding of its own
    reject(rows[blank], "blank, standard deviation {:.6g}", "std")
    rows = rows[~(blank | saturated)]
    if rows.size < FEWEST_FRAMES:
        return found, reasons
    dark, files = _dark(frames, rows), file_numbers(frames[rows])
    for field, word in WORDS.items():
        found[field] = _set_limits(frames[field][rows], files, ~dark, rules.k)
        outside = rows[found[field].outside(frames[field][rows])]
        reject(outside, f"{word} {{:.6g}} outside {_range(found[field])}", field)
    for row in rows[dark & (frames["mean"][rows] < found["mean"].low)].tolist():
        reasons[row] = BLANK + reasons[row].removeprefix(_SCREENED)
    return found, reasons


def _range(limits: Limits) -> str:
    low, high = (f"{limit:.6g}" if math.isfinite(limit) else "" for limit in (limits.low, limits.high))
    if low and high:
        return f"{low} to {high}"
    return f"{low} and more" if low else f"{high} and less"


def blank_frames(frames: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Which frames show nothing, by how little their pixels differ."""
    if not frames.size:
        return np.zeros(0, bool)
    blank: npt.NDArray[np.bool_] = frames["std"] < _BLANK_STD * np.median(frames["std"])
    return blank


def _dark(frames: npt.NDArray[np.void], rows: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Which of these frames are no brighter than the darkest pixels of the others, and show little."""
    floor, level = np.median(frames["min"][rows]), np.median(frames["mean"][rows])
    flat = frames["std"][rows] < _DARK_STD * np.median(frames["std"][rows])
    dark: npt.NDArray[np.bool_] = flat & (frames["mean"][rows] - floor < _BLANK_MEAN * (level - floor))
    return dark


def saturated_frames(frames: npt.NDArray[np.void], dtype: np.dtype[Any]) -> npt.NDArray[np.bool_]:
    """Which frames have a large share of their pixels at the maximum.

    The table does not hold the share p; but a frame whose mean lies less than a standard deviation below
    its largest value has most of its pixels there, or close: for two values, (max - mean)/std is
    √((1 - p)/p). The largest value must be the pixel type's, or one that many frames have in common.
    """
    if not frames.size:
        return np.zeros(0, bool)
    top = frames["max"]
    near = (top - frames["mean"] < frames["std"]) | ((frames["std"] == 0) & (top == frames["mean"]))
    limit = np.iinfo(dtype).max if dtype.kind in "iu" else math.inf
    at_limit = near & (top == limit)
    common = top == top.max()
    if near.mean() < 0.5 and common.sum() >= max(_TOP_FRAMES, _TOP_SHARE * frames.size):
        at_limit |= near & common & (frames["std"] > 0)
    saturated: npt.NDArray[np.bool_] = at_limit
    return saturated


def copies(frames: npt.NDArray[np.void]) -> dict[int, int]:
    """Find accepted frames that may be copies of others: all their statistics are equal.

    A frame that is listed more than once is no copy of itself.

    Parameters
    ----------
    frames : structured ndarray
        Frame table.

    Returns
    -------
    dict
        Row number of every such frame, the first of each sort among them, and the number of the sort.
    """
    rows = np.flatnonzero((frames["status"] == "accepted") & (frames["std"] > 0))
    keys = np.stack([frames[name][rows] for name in ("mean", "std", "min", "max")], axis=1)
    _, sorts = np.unique(keys, axis=0, return_inverse=True)
    members: dict[int, set[tuple[str, int]]] = {}
    numbered = list(zip(rows.tolist(), sorts.reshape(-1).tolist(), strict=True))
    for row, sort in numbered:
        members.setdefault(sort, set()).add(place(frames[row]))
    return {row: sort for row, sort in numbered if len(members[sort]) > 1}


def place(row: np.void) -> tuple[str, int]:
    """File and index of a frame."""
    return row["file"], int(row["index"])


def copy_reason(file: str, index: int) -> str:
    """Reason in the frame table of a frame that is the same as this one."""
    return f"{COPY}{file}, frame {index}"


def as_dict(limits: Mapping[str, Limits], rules: Rules) -> dict[str, Any]:
    """Return what the provenance keeps of a screening; nothing if there was none."""
    result: dict[str, Any] = {} if rules.k is None else {"k": rules.k}
    result |= {name: limit.as_list() for name, limit in limits.items()}
    if rules.given:
        result["given"] = {name: limit.as_list() for name, limit in rules.given.items()}
    return result


def file_numbers(frames: npt.NDArray[np.void]) -> npt.NDArray[np.intp]:
    """Number of the file of each row, from 0 on in the order of the rows."""
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(file, len(numbers)) for file in frames["file"]), np.intp)
