"""Screening: which frames are left out of a set, and what the table of its frames says of the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from camnorm.diagnosis.findings import Finding
from camnorm.statistics.sequences import STEP_LIMIT, course, dip, inflation_of, robust_scale

if TYPE_CHECKING:
    from camnorm.sensor.sensor import Sensor

__all__ = ["findings", "modes"]

DEFAULT_K = 6.0

# Of fewer frames the median absolute deviation says too little: of sets of 5 good frames one in six would
# lose a frame at k = 6, of sets of 10 one in thirty, of sets of 30 one in three hundred.
FEWEST_FRAMES = 10
# The same of files, as the frames of a movie show one specimen. Files with few of the frames count as part
# of one: the number is (Σn)²/Σn² for n frames each.
FEWEST_FILES = 10
# A movie is one of another specimen if all its frames but a few lie so many standard errors off.
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
_BLANK = _SCREENED + "blank, "
_SATURATED = _SCREENED + "saturated, "
_COPY = _SCREENED + "copy of "

_WORDS = {"mean": "mean", "std": "standard deviation"}


@dataclass(frozen=True)
class Limits:
    """Lowest and highest value that is accepted."""

    low: float
    high: float

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
    stands in for it then (Iglewicz & Hoaglin, "How to Detect and Handle Outliers", 1993).
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
        text = f"{_WORDS[field]} {{:.6g}} outside the limits given, {_range(limits)}"
        reject(rows[limits.outside(frames[field][rows])], text, field)
    found: dict[str, Limits] = {}
    if rules.k is None:
        return found, reasons
    rows = np.setdiff1d(rows, list(reasons))
    blank, saturated = _blank(frames[rows]), _saturated(frames[rows], dtype)
    if saturated.mean() < 0.5 if rows.size else False:
        blank &= ~saturated
        reject(rows[saturated], "saturated, mean {:.6g} at the maximum", "mean")
    else:
        saturated[:] = False  # a property of the set, which is told of it
    reject(rows[blank], "blank, standard deviation {:.6g}", "std")
    rows = rows[~(blank | saturated)]
    if rows.size < FEWEST_FRAMES:
        return found, reasons
    dark, files = _dark(frames, rows), _file_numbers(frames[rows])
    for field, word in _WORDS.items():
        found[field] = _set_limits(frames[field][rows], files, ~dark, rules.k)
        outside = rows[found[field].outside(frames[field][rows])]
        reject(outside, f"{word} {{:.6g}} outside {_range(found[field])}", field)
    for row in rows[dark & (frames["mean"][rows] < found["mean"].low)].tolist():
        reasons[row] = _BLANK + reasons[row].removeprefix(_SCREENED)
    return found, reasons


def _range(limits: Limits) -> str:
    low, high = (f"{limit:.6g}" if math.isfinite(limit) else "" for limit in (limits.low, limits.high))
    if low and high:
        return f"{low} to {high}"
    return f"{low} and more" if low else f"{high} and less"


def _blank(frames: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
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


def _saturated(frames: npt.NDArray[np.void], dtype: np.dtype[Any]) -> npt.NDArray[np.bool_]:
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
    return f"{_COPY}{file}, frame {index}"


def as_dict(limits: Mapping[str, Limits], rules: Rules) -> dict[str, Any]:
    """Return what the provenance keeps of a screening; nothing if there was none."""
    result: dict[str, Any] = {} if rules.k is None else {"k": rules.k}
    result |= {name: limit.as_list() for name, limit in limits.items()}
    if rules.given:
        result["given"] = {name: limit.as_list() for name, limit in rules.given.items()}
    return result


# What the table says of the set

# Shares of the frames beyond which they are worth a word although they were left out.
_BLANK_LIMIT = 0.01
_SATURATED_LIMIT = 0.01
_REJECTED_LIMIT = 0.05

# √n·dip beyond which a set has more than one mode: in samples of a uniform distribution, the least
# favourable unimodal one, it is beyond 0.72 once in a thousand times, whatever n (simulated up to n = 200;
# Hartigan & Hartigan 1985, Table 1, and its continuation in the R package diptest).
_DIP_LIMIT = 0.75

# A group too small for that must lie apart by so many times the scatter of either group, and have so many
# members.
_GAP = 6.0
_SMALLEST_GROUP = 5
_MOST_GROUPS = 16

# What frames differ by matters from this share of the pixels' standard deviation on. If groups of frames
# are told from few files, each with a motif of its own, they must also differ by this share of what they are.
_MATTERS = 0.05
_MATTERS_IN_FEW_FILES = 0.1

# From so many files on the files, of which frames may have much in common, count instead of their frames.
_MANY_FILES = 20

# Trend and step in units of the frames' scatter, and the chance at which a trend is taken for one.
_TREND_LIMIT = 1.0
_TREND_CHANCE = 1e-3


def findings(sensor: Sensor) -> list[Finding]:
    """Say what the frames of a measurement tell of its set.

    Parameters
    ----------
    sensor : Sensor
        Its frame table and provenance are looked at, in the order of the table, which is taken for that of
        time.

    Returns
    -------
    list of Finding
        ``rejected``, ``blank``, ``saturated``, ``duplicates``, ``mixed``, ``short_movies``, ``modes``,
        ``mean_trend``, ``mean_steps``, ``std_trend``, ``std_steps``, and, of measurements that tell it,
        ``drift`` and ``drift_pixels``. Of clean sets each is flagged at most once in a hundred times.
    """
    frames = sensor.frames
    return [
        *_left_out(frames, sensor.dtype, compared="k" in sensor.provenance["screening"]),
        _mixed(sensor.provenance.get("groups", [])),
        _short_movies(frames, sensor.provenance),
        _modes_found(frames, sensor.dtype),
        *(finding for field in _WORDS for finding in _course_found(frames, field)),
        *_drift_found(sensor.provenance.get("drift")),
    ]


def _left_out(frames: npt.NDArray[np.void], dtype: np.dtype[Any], compared: bool) -> list[Finding]:
    """What was left out; and what may be copies, unless frames of equal statistics were compared."""
    total = max(frames.size, 1)
    accepted = frames[frames["status"] == "accepted"]
    reasons = frames["reason"].tolist()
    rejected = frames.size - accepted.size
    kept = {"blank": int(_blank(accepted).sum()), "saturated": int(_saturated(accepted, dtype).sum())}
    result = [
        Finding(
            "rejected",
            rejected / total,
            _REJECTED_LIMIT,
            "of normally distributed frames, median ± 6·MAD leaves out one in five hundred million",
            rejected / total > _REJECTED_LIMIT,
            f"{_count(rejected, 'frame')} of {frames.size} ({rejected / total:.2g} of all) left out; "
            "if they are too many, look at their reasons, and at whether the set is of one kind.",
        )
    ]
    for name, prefix, limit, what in (
        ("blank", _BLANK, _BLANK_LIMIT, "a shutter, a beam or a trigger that fails leaves blank frames"),
        ("saturated", _SATURATED, _SATURATED_LIMIT, "pixels at the maximum say nothing of their sensitivity"),
    ):
        found = sum(reason.startswith(prefix) for reason in reasons)
        still = f", {kept[name]} more are in the statistics" if kept[name] else ""
        result.append(
            Finding(
                name,
                (found + kept[name]) / total,
                limit,
                what,
                kept[name] > 0 or found / total > limit,
                f"{_count(found, f'{name} frame')} of {frames.size} left out{still}.",
            )
        )
    copied = [reason.removeprefix(_COPY) for reason in reasons if reason.startswith(_COPY)]
    kept_copies = {} if compared else copies(frames)
    still = f", {len(kept_copies)} may be in the statistics" if kept_copies else ""
    first = f", the first of {copied[0]}" if copied else ""
    places = accepted[["file", "index"]].tolist()
    again = len(places) - len(set(places))
    listed = f" {_count(again, 'frame')} of the list had been there before, and count again." if again else ""
    result.append(
        Finding(
            "duplicates",
            (len(copied) + len(kept_copies) + again) / total,
            0.0,
            "no sensor gives the same frame twice: copies count a frame more than once",
            bool(copied or kept_copies or again),
            f"{_count(len(copied), 'copy', 'copies')} of other frames left out{first}{still}.{listed}",
        )
    )
    return result


def _count(number: int, one: str, more: str | None = None) -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def _mixed(groups: Sequence[Mapping[str, Any]]) -> Finding:
    """Whether the files are of several shapes, pixel types or cameras."""
    told = [
        f"{_count(group['files'], 'file')} ({_count(group['frames'], 'frame')}) of {describe(group)}"
        for group in groups
    ]
    frames = sum(group["frames"] for group in groups)
    others = frames - max((group["frames"] for group in groups), default=0)
    return Finding(
        "mixed",
        others / frames if frames else math.nan,
        0.0,
        "one measurement is of one sensor in one mode",
        len(groups) > 1,
        f"the set is mixed: {'; '.join(told)}. Measure each group on its own (measure_groups)."
        if len(groups) > 1
        else "all files are of one shape, pixel type and camera."
        if groups
        else "whether all files are of one shape, pixel type and camera is not known.",
    )


def _short_movies(frames: npt.NDArray[np.void], provenance: Mapping[str, Any]) -> Finding:
    """Whether movies are shorter than most: still being copied, perhaps, or truncated."""
    selection = provenance.get("selection") or {}
    sampled = selection.get("every", 1) != 1 or selection.get("max_frames") is not None
    readable = frames[np.isfinite(frames["mean"])]
    lengths: dict[str, int] = {}  # of each movie, the number of its last frame that can be read
    for file, index in readable[["file", "index"]].tolist():
        lengths[file] = max(lengths.get(file, 0), index + 1)
    counts = np.array(list(lengths.values()), np.intp)
    found, times = np.unique(counts, return_counts=True)
    # At least half of the movies must be of one length, the greater one in doubt.
    usual = int(found[times == times.max(initial=0)].max(initial=0))
    clear = not sampled and not provenance.get("frames_list") and 2 * times.max(initial=0) >= counts.size
    short = {file: count for file, count in lengths.items() if count < usual}
    flagged = clear and bool(short)
    sentence = "all movies are as long as most."
    if flagged:
        file, count = next(iter(short.items()))
        some = "1 movie is" if len(short) == 1 else f"{len(short)} movies are"
        more = ", ..." if len(short) > 1 else ""
        sentence = (
            f"{some} shorter than usual ({Path(file).name}: {count} of {usual} frames{more}). "
            "Files may be truncated, or were still being copied; measure again when all files are complete."
        )
    elif not clear:
        sentence = "the movies have no common length that can be compared."
    return Finding(
        "short_movies",
        float(len(short)) if clear else math.nan,
        0.0,
        "the movies of one session have the same number of frames",
        flagged,
        sentence,
    )


def describe(group: Mapping[str, Any]) -> str:
    """Put a group of files into words."""
    words = f"{' x '.join(map(str, group['shape']))} {group['dtype']}"
    return f"{words} by {group['camera']}" if group.get("camera") else words


def _usable(frames: npt.NDArray[np.void], dtype: np.dtype[Any]) -> npt.NDArray[np.intp]:
    """Rows that tell of the mode of exposure: not blank, not saturated, no copies, but with statistics."""
    out = np.array(
        [reason.startswith((_BLANK, _SATURATED, _COPY)) for reason in frames["reason"].tolist()], bool
    )
    rows = np.flatnonzero(np.isfinite(frames["mean"]) & ~out)
    part = frames[rows]
    usable: npt.NDArray[np.intp] = rows[~(_blank(part) | _saturated(part, dtype))]
    return usable


def _file_numbers(frames: npt.NDArray[np.void]) -> npt.NDArray[np.intp]:
    """Number of the file of each row, from 0 on in the order of the rows."""
    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(file, len(numbers)) for file in frames["file"]), np.intp)


def _units(frames: npt.NDArray[np.void]) -> npt.NDArray[np.intp]:
    """Number of the file of each row if there are many files, else of the row itself."""
    units = _file_numbers(frames)
    return units if units.max(initial=-1) + 1 >= _MANY_FILES else np.arange(frames.size)


def _of_units(values: npt.NDArray[np.float64], units: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Median of each unit, which a deviant frame does not move."""
    order = values[np.lexsort((values, units))]
    counts = np.bincount(units)
    first = np.cumsum(counts) - counts
    medians: npt.NDArray[np.float64] = (order[first + (counts - 1) // 2] + order[first + counts // 2]) / 2
    return medians


def modes(frames: npt.NDArray[np.void], dtype: np.dtype[Any]) -> list[npt.NDArray[np.intp]]:
    """Tell groups of frames apart by their means and standard deviations, as two exposures make them.

    Parameters
    ----------
    frames : structured ndarray
        Frame table. Frames that were left out by limits of the set count too: the smaller group may be
        among them. Blank, saturated and repeated frames do not.
    dtype : numpy.dtype
        Type of the pixels.

    Returns
    -------
    list of ndarray
        Row numbers of each group, in the order of their first frames; one group as a rule.
    """
    groups, _ = _split_into_modes(frames, dtype)
    return groups


def _split_into_modes(
    frames: npt.NDArray[np.void], dtype: np.dtype[Any]
) -> tuple[list[npt.NDArray[np.intp]], float]:
    rows = _usable(frames, dtype)
    if rows.size < 2 * _SMALLEST_GROUP:
        return [rows], math.nan
    part = frames[rows]
    units = _units(part)
    few = units.size == units.max() + 1 and np.unique(part["file"].astype(str)).size < part.size
    matters = _MATTERS * float(np.median(part["std"]))
    values = {field: _of_units(part[field], units) for field in _WORDS}
    todo: list[npt.NDArray[np.intp]] = [np.arange(units.max() + 1)]
    done: list[npt.NDArray[np.intp]] = []
    evidence = 0.0
    while todo:
        group = todo.pop(0)
        best: tuple[float, npt.NDArray[np.bool_] | None] = (0.0, None)
        for column in values.values():
            least = max(matters, few * _MATTERS_IN_FEW_FILES * abs(float(np.median(column[group]))))
            found = _two_modes(column[group], least)
            best = max(best, found, key=lambda pair: pair[0])
        strength, upper = best
        evidence = max(evidence, strength)
        if strength > 1 and upper is not None and len(todo) + len(done) < _MOST_GROUPS:
            todo += [group[~upper], group[upper]]
        else:
            done.append(group)
    groups = [rows[np.isin(units, group)] for group in done]
    return sorted(groups, key=lambda group: int(group[0])), float(evidence) * _DIP_LIMIT


def _two_modes(values: npt.NDArray[np.float64], least: float) -> tuple[float, npt.NDArray[np.bool_] | None]:
    """How clearly values, in the order of time, fall into two groups (from 1 on), and which are the upper."""
    n = values.size
    if n < 2 * _SMALLEST_GROUP:
        return 0.0, None
    order = np.sort(values)
    gaps = np.diff(order)[_SMALLEST_GROUP - 1 : n - _SMALLEST_GROUP]
    # A small group that lies apart from all others.
    for i in np.argsort(gaps)[::-1][:3] + _SMALLEST_GROUP - 1:
        gap = order[i + 1] - order[i]
        sides = order[: i + 1], order[i + 1 :]
        scale = max(robust_scale(side - np.median(side)) for side in sides)
        if gap > least and gap > _GAP * scale:
            return max(1.01, min(gap / max(_GAP * scale, 1e-300), 100.0)), values > order[i]
    cut = _valley(order)
    upper = values > cut
    if min(upper.sum(), n - upper.sum()) < _SMALLEST_GROUP:
        return 0.0, None
    centres = np.where(upper, np.median(values[upper]), np.median(values[~upper]))
    if centres.max() - centres.min() < least:
        return 0.0, None
    clearness = math.sqrt(n / inflation_of(values - centres, 2)) * dip(values) / _DIP_LIMIT
    return clearness, upper


def _valley(order: npt.NDArray[np.float64]) -> float:
    """Where ascending values are best cut in two: the widest gap near the cut of least variance within."""
    n = order.size
    k = np.arange(1, n)
    sums = np.cumsum(order - order.mean())[:-1]
    cut = int((sums**2 / (k * (n - k))).argmax()) + 1  # Otsu's
    first, last = cut // 2, cut + (n - cut) // 2
    widest = first + int(np.diff(order[first : last + 1]).argmax())
    return float(order[widest] + order[widest + 1]) / 2


def _modes_found(frames: npt.NDArray[np.void], dtype: np.dtype[Any]) -> Finding:
    groups, evidence = _split_into_modes(frames, dtype)
    told = [
        f"{_count(group.size, 'frame')} of mean {np.median(frames['mean'][group]):.6g} and standard "
        f"deviation {np.median(frames['std'][group]):.6g} (the first: {Path(frames['file'][group[0]]).name}, "
        f"frame {frames['index'][group[0]]})"
        for group in groups
        if group.size
    ]
    mixed = len(groups) > 1
    sentence = (
        f"the frames are of {len(groups)} kinds: {'; '.join(told)}. Their statistics do not go together: "
        "measure each group on its own (measure_groups)."
        if mixed
        else "the frames' means and standard deviations have one mode each."
    )
    return Finding(
        "modes",
        evidence,
        _DIP_LIMIT,
        "√n times the dip of one unimodal set is beyond it less than once in a thousand times",
        mixed,
        sentence if not math.isnan(evidence) else "too few frames to tell whether they are of one kind.",
    )


def _course_found(frames: npt.NDArray[np.void], field: str) -> list[Finding]:
    """Trend and steps of the accepted frames' means or standard deviations."""
    part = frames[frames["status"] == "accepted"]
    word = _WORDS[field]
    units = _units(part)
    found = course(_of_units(part[field], units)) if part.size else None
    because = "frames scatter as much anyway" if field == "mean" else "they scatter as much anyway"
    because += f", or {_MATTERS:.0%} of the pixels' standard deviation"
    names = (f"{field}_trend", _TREND_LIMIT), (f"{field}_steps", STEP_LIMIT)
    if found is None:
        few = f"too few frames to tell whether their {word} changes with time."
        return [Finding(name, math.nan, limit, because, False, few) for name, limit in names]
    scale = max(found.scatter, _MATTERS * float(np.median(part["std"])), 1e-300)
    trend = found.trend / scale
    trending = abs(trend) > _TREND_LIMIT and found.trend_chance < _TREND_CHANCE
    steps = [step for step in found.steps if abs(step.change) > STEP_LIMIT * scale]
    firsts = np.unique(units, return_index=True)[1]
    told = [
        f"by {step.change:+.4g} from {Path(part['file'][row]).name}, frame {part['index'][row]}, on"
        for step, row in ((step, firsts[step.position]) for step in steps)
    ]
    largest = max((abs(step.change) / scale for step in found.steps), default=0.0)
    return [
        Finding(
            names[0][0],
            abs(trend),
            _TREND_LIMIT,
            because,
            trending,
            f"the frames' {word} changes by {found.trend:+.4g} from the first to the last, "
            f"{abs(trend):.3g} times their scatter: light or sensor drifted; take shorter sets."
            if trending
            else f"the frames' {word} has no trend that matters.",
        ),
        Finding(
            names[1][0],
            largest,
            STEP_LIMIT,
            because,
            bool(steps),
            f"the frames' {word} steps {', '.join(told)}: something was changed; measure the parts apart."
            if steps
            else f"the frames' {word} does not step.",
        ),
    ]


# Drift leaves half the difference of the two patterns in every corrected frame: at a ratio of √2 that is
# as much as the noise of the mean image itself.
_DRIFT_LIMIT = math.sqrt(2)
_DRIFTED_PIXELS = 10
_DRIFTED_SHARE = 1e-5


def _drift_found(drift: Mapping[str, Any] | None) -> list[Finding]:
    if not drift:
        return []
    ratio = drift["rms_z"] / drift["control_rms_z"] if drift["control_rms_z"] else math.nan
    pixels = drift["beyond_6_sigma"] - drift["control_beyond_6_sigma"]
    limit = max(_DRIFTED_PIXELS, _DRIFTED_SHARE * drift["pixels"])
    drifted = ratio > _DRIFT_LIMIT
    return [
        Finding(
            "drift",
            ratio,
            _DRIFT_LIMIT,
            "from there on, half the change of the pattern is more than the noise of the mean image",
            drifted,
            f"the pixels' pattern changed from the first {drift['first']} frames to the last "
            f"{drift['second']}: they differ {ratio:.3g} times as much as the two halves do, "
            f"{drift['share']:.2g} of the pattern's variance changed; take shorter sets."
            if drifted
            else "the pixels' pattern is the same in the first and the last frames.",
        ),
        Finding(
            "drift_pixels",
            float(pixels),
            limit,
            "bad pixels come and go; dust that moves is more of them",
            pixels > limit,
            f"{_count(drift['beyond_6_sigma'], 'pixel')} of {drift['pixels']} looked at changed by more than "
            "6 standard errors from the first frames to the last"
            + (": dust moved, or pixels went bad; take shorter sets." if pixels > limit else "."),
        ),
    ]
