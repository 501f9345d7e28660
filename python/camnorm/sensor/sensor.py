"""The result of a measurement: moments of both halves of a data set, frame table, provenance."""

from __future__ import annotations

import errno
import json
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from operator import add, sub
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from camnorm.correction.adjustments import Adjustments, Mode, Name
from camnorm.correction.correction import Correction
from camnorm.errors import Error, FormatError, raise_shortage
from camnorm.io.base.atomic import Protected, atomic_target
from camnorm.io.base.options import ReadOptions
from camnorm.statistics.moments import PixelMoments
from camnorm.statistics.response import PixelResponse

if TYPE_CHECKING:
    import h5py

__all__ = ["FRAME_DTYPE", "SCHEMA", "Sensor"]

SCHEMA = 1
_FORMAT = "camnorm sensor"

FRAME_DTYPE = np.dtype(
    [
        ("file", "O"),
        ("index", "<i8"),
        ("mean", "<f8"),
        ("std", "<f8"),
        ("min", "<f8"),
        ("max", "<f8"),
        ("half", "<U1"),
        ("status", "<U8"),
        ("reason", "O"),
    ]
)
"""One row a frame: path of the file, index in it (-1: the whole file could not be read, or has frames
of another shape or kind), statistics over the frame's pixels (NaN if it was not read), half "A" or "B",
status "accepted" or "rejected", and the reason for the latter."""

FILE_DTYPE = np.dtype([("path", "O"), ("size", "<i8"), ("mtime", "<f8")])

# How Python keeps the bytes of file names that are no UTF-8.
_NAMES = "surrogateescape"

# What of the provenance is kept as JSON.
_JSON = {
    "screening": dict,
    "selection": dict,
    "reading": dict,
    "frames_list": dict,
    "groups": list,
    "drift": dict,
    "ratios": list,
}

# The least that numbers in them can be.
_NUMBERS = {
    "groups": {"files": 0, "frames": 0},
    "drift": {
        "first": 1,
        "second": 1,
        "pixels": 0,
        "rms_z": 0,
        "control_rms_z": 0,
        "share": 0,
        "beyond_6_sigma": 0,
        "control_beyond_6_sigma": 0,
    },
    "ratios": {"first": 1, "others": 1, "ratio": 0},
}

Image = npt.NDArray[np.float64]


class Sensor:
    """What the images of a data set say of the sensor that took them.

    Parameters
    ----------
    halves : tuple of two PixelMoments
        Moments of half A and half B of the set, of one shape and kind.
    frames : structured ndarray
        Frame table of dtype `FRAME_DTYPE`.
    provenance : mapping
        ``version``, ``command`` (str), ``started``, ``ended`` (ISO 8601, str), ``screening`` (dict: k, the
        limits of mean and std that the set set, and those given, as lists of two with None for an open
        end; or empty), ``selection`` (dict: frames, every and max_frames of `measure`), ``reading`` (dict:
        its options), ``frames_list`` (dict: path and digest, or empty), ``groups`` (list of dicts: shape,
        dtype and camera of the files that were read, and number of files and of frames), ``drift`` and
        ``ratios`` (dict of `measure_drift` and list of `measure_ratios` in `camnorm.measurement.drift`, or
        empty), ``files`` (structured array of dtype `FILE_DTYPE`: path, size in bytes, mtime in seconds).
        Files of before there were such lack some of these.
    responses : tuple of two PixelResponse, optional
        Of the same halves, if the exposures of frames were looked at.

    Attributes
    ----------
    halves, frames, provenance, responses
        As given.
    """

    def __init__(
        self,
        halves: tuple[PixelMoments, PixelMoments],
        frames: npt.NDArray[np.void],
        provenance: Mapping[str, Any],
        responses: tuple[PixelResponse, PixelResponse] | None = None,
    ) -> None:
        self.halves = halves
        self.frames = frames
        self.provenance = dict(provenance)
        self.responses = responses

    @property
    def count(self) -> int:
        """Number of frames in the statistics."""
        return self.halves[0].count + self.halves[1].count

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a frame, (y, x) or (y, x, c)."""
        return self.halves[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Pixel type of the frames (of the first of them, if they differ within their kind)."""
        return self.halves[0].dtype

    @property
    def options(self) -> ReadOptions:
        """How the files were read."""
        return ReadOptions.from_dict(self.provenance.get("reading", {}))

    @property
    def moments(self) -> PixelMoments:
        """Moments of the whole set: the halves merged, anew at each call."""
        return self.halves[0] + self.halves[1]

    @cached_property
    def mean(self) -> Image:
        """Mean image of the whole set: float64, shape of a frame, units of the pixels."""
        a, b = self.halves
        return _read_only(a._mean_with(b))

    @cached_property
    def sigma(self) -> Image:
        """Sigma image (ddof 0) of the whole set: float64, shape of a frame, units of the pixels."""
        a, b = self.halves
        return _read_only(a._std_with(b))

    @property
    def response(self) -> PixelResponse | None:
        """Response of the whole set, merged anew at each call; None if exposures were not looked at."""
        return None if self.responses is None else self.responses[0] + self.responses[1]

    @cached_property
    def _targets(self) -> tuple[float, float]:
        a, b = self.halves
        return a._targets_with(b)

    @property
    def target_mean(self) -> float:
        """I0 of Eq. (2): mean over the mean image, pixels that never change left out (NaN if all)."""
        return self._targets[0]

    @property
    def target_sigma(self) -> float:
        """s0 of Eq. (2): mean over the sigma image, pixels that never change left out (NaN if all)."""
        return self._targets[1]

    def _blocks(self, rows: int) -> Iterator[tuple[slice, tuple[Image, Image], tuple[Image, Image]]]:
        """Some rows at a time, with both halves' mean images and variances (ddof 1) of these.

        Whole images in float64 take more memory than the exact sums of 8 and 16 bit frames.
        """
        for start in range(0, self.shape[0], rows):
            stop = min(start + rows, self.shape[0])
            a, b = (half._rows(start, stop) for half in self.halves)
            yield slice(start, stop), (a.mean(), b.mean()), (a.var(1), b.var(1))

    def correction(
        self,
        target_mean: float | None = None,
        target_sigma: float | None = None,
        bad_policy: Literal["neutral", "interpolate", "nan"] = "neutral",
        *,
        mode: Mode = "both",
        keep_illumination: float | bool | None = None,
        shrink: bool = False,
    ) -> Correction:
        """Correction of frames of this sensor, Eq. (2) of Afanasyev et al. 2015.

        The last three are for sets that fall short of what it assumes; docs/corrections.md compares them.

        Parameters
        ----------
        target_mean, target_sigma : float, optional
            I0 and s0, by default those of the set. 0 and 1 give Eq. (1).
        bad_policy : {"neutral", "interpolate", "nan"}
            What pixels that never change become; see `Correction`.
        mode : {"both", "mean", "gain", "response"}
            What is corrected: mean and sigma of every pixel; the mean by subtraction, I - mean + I0; the mean
            by a factor, I · I0 / mean, as gain references do; or the response, (I - offset) / gain, by the
            straight line of each pixel over the exposures of the frames, for sets whose exposures vary (see
            `PixelResponse`). "gain" has no target sigma of its own: contrast follows the target mean. Pixels
            whose mean, or gain, is not positive are bad then.
        keep_illumination : float or True, optional
            Leave in the frames what varies slowly over the mean and the sigma image: sensitivity and
            illumination cannot be told apart there. Waves of this length in pixels are kept by half, longer
            ones more. True is half the shorter side of a frame. The mean image, corrected, becomes its
            smooth part; the sigma image is divided by its own, geometrically. Colour planes keep their own
            mean.
        shrink : bool
            For sets of few frames: move each pixel of the mean and of the logarithm of the sigma image
            towards the mean of its 7 x 7 neighbours, by the share of their deviations that is noise. How
            much that is, the halves of the set tell; of many frames it is next to nothing.

        Returns
        -------
        Correction

        Raises
        ------
        Error
            If no pixel of the set ever changes (a single frame, say); if the mode is "gain" and the mean over
            the mean image not positive; if it is "response", and the set was measured without, or all
            exposures are the same; to shrink, if a half of the set has less than two frames.
        ValueError
            If a target is not finite, the target sigma not positive; if the mode is "gain", and the target
            sigma is given or the target mean not positive; if the policy or the mode is another word, or the
            scale below 8.
        """
        adjustments = Adjustments(mode, keep_illumination, shrink)
        return self._correction(adjustments, target_mean, target_sigma, bad_policy)

    def _correction(
        self,
        adjustments: Adjustments,
        target_mean: float | None = None,
        target_sigma: float | None = None,
        bad_policy: Literal["neutral", "interpolate", "nan"] = "neutral",
        half: int | None = None,
    ) -> Correction:
        """Correction to the targets of the set, made from all of it or from one half."""
        return self._correction_images(adjustments, target_mean, target_sigma, half).correction(bad_policy)

    def _correction_images(
        self,
        adjustments: Adjustments,
        target_mean: float | None = None,
        target_sigma: float | None = None,
        half: int | None = None,
    ) -> CorrectionImages:
        """What such a correction is formed of."""
        measured, *halves = (partial(self._image, part) for part in (half, 0, 1))
        if np.isnan(self.target_mean) or not measured("sigma").any():
            raise Error("no pixel of the set ever changes: there is nothing to correct with")
        fewest = min(moments.count for moments in self.halves)
        if adjustments.shrink and fewest < 2:
            raise Error(f"noise cannot be told from a half of the set with {fewest} frames: shrink needs two")
        if adjustments:
            mean, sigma = adjustments.images(measured, halves, self.target_mean, self.target_sigma)
        else:
            mean, sigma = measured("mean"), measured("sigma")
        if adjustments.mode == "gain":
            if target_sigma is not None:
                raise ValueError("a gain leads to no target sigma: contrast follows the target mean")
            if target_mean is not None and not target_mean > 0:
                raise ValueError(f"a gain leads to a positive target mean, not to {target_mean:g}")
            if target_mean is not None:
                target_sigma = self.target_sigma * target_mean / self.target_mean
        return CorrectionImages(
            mean,
            sigma,
            self.target_mean if target_mean is None else target_mean,
            self.target_sigma if target_sigma is None else target_sigma,
        )

    def _image(self, half: int | None, name: Name) -> Image:
        """What all of the set, or one half, says of every pixel."""
        if name == "gain":
            return self._gain(half)
        if half is None:
            return self.mean if name == "mean" else self.sigma
        return self.halves[half].mean() if name == "mean" else self.halves[half].std()

    def _gain(self, half: int | None) -> Image:
        if self.responses is None:
            raise Error("the sensor was measured without its response: measure it again with response=True")
        if half is None:
            a, b = self.responses
            gain = (a + b).gain(self.moments)
        else:
            gain = self.responses[half].gain(self.halves[half])
        if np.isnan(gain).all():
            raise Error("no response can be told: all frames have the same exposure")
        return gain

    def merge(self, other: Sensor) -> Sensor:
        """Put two measurements of one sensor together, half A to half A, half B to half B.

        Parameters
        ----------
        other : Sensor
            Measurement of frames of the same shape and kind. Frames that are in both count twice, and a
            warning says so; as it does if the files were read by different options, or if only one was
            measured with its response, which is then lost.

        Returns
        -------
        Sensor

        Raises
        ------
        Error
            If shape or kind differ, or a gain or defects were applied to the frames of one alone.
        """
        self._compare_options(other.options)
        twice = self._accepted() & other._accepted()
        if twice:
            file, index = min(twice)
            more = f" and {len(twice) - 1} more" if len(twice) > 1 else ""
            warnings.warn(
                f"in both measurements, and counted twice: {file}, frame {index}{more}", stacklevel=2
            )
        halves, responses = self._pairwise(other, add)
        files = np.concatenate([self.provenance["files"], other.provenance["files"]])
        _, first = np.unique(files["path"].astype(str), return_index=True)
        files = files[np.sort(first)]
        frames = np.concatenate([self.frames, other.frames])
        groups = _add_groups(self.provenance.get("groups", []), other.provenance.get("groups", []))
        # What is told of the drift of the parts does not hold for the whole.
        provenance = {**self.provenance, "files": files, "groups": groups, "drift": {}, "ratios": []}
        return Sensor(halves, frames, provenance, responses)

    def _compare_options(self, other: ReadOptions) -> None:
        """Error or warning if frames that were read by other options are other measurements."""
        for name in ("gain", "defects"):
            if (getattr(self.options, name) is None) != (getattr(other, name) is None):
                raise Error(f"these measurements do not go together: only one was read with {name}")
        mine, its = self.options.to_dict(), other.to_dict()
        # Where the images lie tells nothing of them.
        places = ("dataset", "follow_links")
        differing = [name for name in mine if name not in places and mine[name] != its[name]]
        if differing:
            told = ", ".join(f"{name} {mine[name]} and {its[name]}" for name in differing)
            warnings.warn(f"the files of these measurements were read differently: {told}", stacklevel=3)

    def _accepted(self) -> set[tuple[str, int]]:
        accepted = self.frames[self.frames["status"] == "accepted"]
        return set(accepted[["file", "index"]].tolist())

    def subtract(self, other: Sensor) -> Sensor:
        """Take a measurement away whose frames are all part of this one: the inverse of `merge`.

        Parameters
        ----------
        other : Sensor
            The measurement to be taken away. The response is lost if only one has it, with a warning.

        Returns
        -------
        Sensor

        Raises
        ------
        Error
            If shape or kind differ, or a frame of `other` is not among the accepted ones of this
            measurement in the same half.
        """

        def keys(sensor: Sensor) -> list[tuple[Any, ...]]:
            rows: list[tuple[Any, ...]] = sensor.frames[["file", "index", "half", "status"]].tolist()
            return rows

        taken: dict[tuple[Any, ...], int] = {}
        for key in keys(other):
            taken[key] = taken.get(key, 0) + 1
        keep = np.ones(self.frames.size, bool)
        for row, key in enumerate(keys(self)):
            if taken.get(key, 0):
                taken[key] -= 1
                keep[row] = False
        for (file, index, half, status), left in taken.items():
            if left and status == "accepted":
                raise Error(
                    f"{file}, frame {index}, is not in half {half} of the measurement it is taken from"
                )
        halves, responses = self._pairwise(other, sub)
        files = self.provenance["files"]
        still = set(self.frames["file"][keep])
        left_files = files[[path in still for path in files["path"]]]
        groups = _add_groups(self.provenance.get("groups", []), other.provenance.get("groups", []), -1)
        provenance = {**self.provenance, "files": left_files, "groups": groups, "drift": {}, "ratios": []}
        return Sensor(halves, self.frames[keep], provenance, responses)

    def _pairwise(
        self, other: Sensor, operation: Callable[[Any, Any], Any]
    ) -> tuple[tuple[PixelMoments, PixelMoments], tuple[PixelResponse, PixelResponse] | None]:
        """Add or subtract moments and responses, half by half."""
        if (self.responses is None) != (other.responses is None):
            warnings.warn("only one of the measurements has a response: it is lost", stacklevel=3)
        try:
            a, b = map(operation, self.halves, other.halves)
            if self.responses is None or other.responses is None:
                return (a, b), None
            c, d = map(operation, self.responses, other.responses)
        except (TypeError, ValueError) as error:
            raise Error(f"these measurements do not go together: {error}") from None
        return (a, b), (c, d)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a sensor file: HDF5, atomically, in place of one that may be there.

        Parameters
        ----------
        path : path-like
            The file.

        Raises
        ------
        FormatError
            If there is a file of another kind, which is not replaced.
        Error
            If another process is writing this file.
        OSError
            If it cannot be written; a file that was there before is unharmed then.
        """
        self._save(path, overwrite=True)

    def _save(
        self, path: str | os.PathLike[str], overwrite: bool, protected: Protected | None = None
    ) -> None:
        """Write a sensor file that replaces no other measurement, unless asked to, and no protected file."""
        protected = protected or Protected()
        protected.check(Path(path))
        check_replaceable(path, overwrite, lambda found: found == self._identity())
        with atomic_target(path, overwrite=True, protected=protected) as temporary:
            self._write(temporary)

    def _identity(self) -> Identity:
        """What tells this measurement from others."""
        halves = self.halves[0].count, self.halves[1].count
        return Identity.of(self.provenance, self.responses is not None, (*halves, self.frames.size))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sensor:
        """Read a sensor file.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        Sensor

        Raises
        ------
        FormatError
            If it is a file of another kind, is truncated, or was written by a newer camnorm.
        OSError
            If there is no such file, or it cannot be opened.
        """
        sensor, _, _ = cls._read(path, _FORMAT)
        return sensor

    @property
    def _stored_bytes(self) -> int:
        """About how large the file will be."""
        sums = (*self.halves, *(self.responses or ()))
        parts = [part for half in sums for part in half._core.parts().values()]
        rows = self.frames.size + self.provenance["files"].size
        return int(sum(part.nbytes for part in parts)) + 200 * int(rows) + (1 << 16)

    def _write(
        self,
        path: str | os.PathLike[str],
        attributes: Mapping[str, Any] | None = None,
        arrays: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        import h5py

        # A full disk is found out before HDF5 does, which would not say so in so many words.
        with open(path, "r+b") as file:
            reserve(file, self._stored_bytes + sum(array.nbytes for array in (arrays or {}).values()))
        text = h5py.string_dtype()
        # Without HDF5's lock: the temporary file is locked already.
        with h5py.File(path, "w", locking=False) as f:
            f.attrs.update({"format": _FORMAT, "schema": SCHEMA, **(attributes or {})})
            for name, array in (arrays or {}).items():
                f.create_dataset(name, data=array)
            for name, half in zip("AB", self.halves, strict=True):
                group = f.create_group(f"halves/{name}")
                group.attrs["count"] = half.count
                for part, array in half._core.parts().items():
                    group.create_dataset(part, data=array)
            for name, response in zip("AB", self.responses or (), strict=False):
                group = f.create_group(f"responses/{name}")
                group.attrs.update(response._core.numbers())
                for part, array in response._core.parts().items():
                    group.create_dataset(part, data=array)
            files = self.provenance["files"]
            group = f.create_group("files")
            group.create_dataset("path", data=[_encoded(name) for name in files["path"]], dtype=text)
            for column in ("size", "mtime"):
                group.create_dataset(column, data=files[column])
            number = {path: i for i, path in enumerate(files["path"])}
            group = f.create_group("frames")
            group.create_dataset("file", data=np.array([number[p] for p in self.frames["file"]], np.int64))
            for column in ("index", "mean", "std", "min", "max"):
                group.create_dataset(column, data=self.frames[column])
            for column in ("half", "status"):
                group.create_dataset(column, data=np.char.encode(self.frames[column], "ascii"))
            reasons = [_encoded(reason) for reason in self.frames["reason"]]
            group.create_dataset("reason", data=reasons, dtype=text)
            group = f.create_group("provenance")
            group.attrs["shape"] = self.shape
            group.attrs["dtype"] = self.dtype.name
            # A data set, since attributes end at 64 kB and a command may name 20,000 files.
            group.create_dataset("command", data=_encoded(self.provenance["command"]), dtype=text)
            for key, value in self.provenance.items():
                if key not in ("files", "command"):
                    group.attrs[key] = json.dumps(value) if key in _JSON else value

    @classmethod
    def _read(
        cls, path: str | os.PathLike[str], kind: str
    ) -> tuple[Sensor, dict[str, Any], dict[str, npt.NDArray[Any]]]:
        from camnorm.io.base.hdf5guard import check_whole, value_of, values_of

        path = Path(path)
        with _opened(path, kind) as f:
            check_whole(path, f)
            attributes = {name: value_of(path, f, name) for name in f.attrs}
            arrays = {name: values_of(path, item) for name, item in f.items() if not hasattr(item, "items")}
            return cls._read_open(path, f), attributes, arrays

    @classmethod
    def _read_open(cls, path: Path, f: h5py.File) -> Sensor:
        from camnorm.io.base.hdf5guard import texts_of, value_of, values_of

        provenance = _read_provenance(path, f)
        shape = tuple(int(n) for n in provenance.pop("shape"))
        dtype = np.dtype(provenance.pop("dtype"))
        files = provenance["files"]

        def read_sums(stored: h5py.Group, sums: PixelMoments | PixelResponse) -> None:
            for part, array in sums._core.parts().items():
                if stored[part].dtype != array.dtype:
                    raise ValueError(f"{part} has dtype {stored[part].dtype}, not {array.dtype}")
                stored[part].read_direct(array)

        def half(name: str) -> PixelMoments:
            stored = group_of("halves", name)
            moments = PixelMoments(shape, dtype)
            read_sums(stored, moments)
            moments._core.count = int(value_of(path, stored, "count"))
            return moments

        def response(name: str) -> PixelResponse:
            stored = group_of("responses", name)
            sums = PixelResponse(shape, dtype)
            read_sums(stored, sums)
            sums._core.set_numbers({key: value_of(path, stored, key).item() for key in sums._core.numbers()})
            return sums

        def group_of(kind: str, name: str) -> h5py.Group:
            stored = f[kind][name]
            for part, dataset in stored.items():  # before so much memory is asked for
                if dataset.shape != shape:
                    raise ValueError(f"{part} has shape {dataset.shape}, not {shape}")
            return stored

        stored = f["frames"]
        frames = np.empty(stored["file"].shape, FRAME_DTYPE)
        frames["file"] = files["path"][values_of(path, stored["file"])]
        for column in ("index", "mean", "std", "min", "max"):
            frames[column] = values_of(path, stored[column])
        for column in ("half", "status"):
            frames[column] = np.char.decode(values_of(path, stored[column]), "ascii")
        frames["reason"] = texts_of(path, stored["reason"], _NAMES)
        halves = half("A"), half("B")
        responses = (response("A"), response("B")) if "responses" in f else None
        for moments, sums in zip(halves, responses or (), strict=False):
            if moments.count != sums.count:
                raise ValueError(f"moments of {moments.count} frames, but a response of {sums.count}")
        return cls(halves, frames, provenance, responses)

    def __repr__(self) -> str:
        return f"<Sensor measured from {self.count} {self.dtype} frames of shape {self.shape}>"


class CorrectionImages(NamedTuple):
    """What a correction is formed of: half the memory of a sensor's moments, or less."""

    mean: Image
    sigma: Image
    target_mean: float
    target_sigma: float

    def correction(self, bad_policy: Literal["neutral", "interpolate", "nan"]) -> Correction:
        """Form the correction."""
        mean, sigma, target_mean, target_sigma = self
        return Correction(
            mean, sigma, target_mean=target_mean, target_sigma=target_sigma, bad_policy=bad_policy
        )


class Identity(NamedTuple):
    """What tells a measurement from others, whenever and by whichever version it was made."""

    files: tuple[tuple[str, int, float], ...]
    """Path, size and time of change."""
    choice: tuple[Any, ...]
    """Which of their frames are taken, and how they are read and screened."""
    numbers: tuple[int, ...]
    """Frames in half A, in half B, in the table."""

    @classmethod
    def of(cls, provenance: Mapping[str, Any], response: bool, numbers: tuple[int, ...]) -> Identity:
        """Find it in a provenance, of whatever version."""
        screening = provenance["screening"]
        choice = (
            provenance.get("selection", {"frames": None, "every": 1, "max_frames": None}),
            ReadOptions.from_dict(provenance.get("reading", {})),
            provenance.get("frames_list", {}).get("digest"),
            screening.get("k"),
            screening.get("given", {}),
            response,
        )
        return cls(tuple(provenance["files"].tolist()), choice, numbers)

    def has_same_settings(self, other: Identity) -> bool:
        """Whether the same frames are measured in the same way, if all goes well."""
        return (self.files, self.choice) == (other.files, other.choice)


def check_replaceable(
    path: str | os.PathLike[str], overwrite: bool, same: Callable[[Identity], bool]
) -> None:
    """Raise an error if there is a file that a sensor file may not replace.

    Parameters
    ----------
    path : path-like
        The sensor file to be.
    overwrite : bool
        Whether it may replace another measurement.
    same : callable
        Whether an `Identity` is that of the same measurement, which may always be replaced.

    Raises
    ------
    FormatError
        If there is a file of another kind that is not empty.
    Error
        If there is another measurement, and `overwrite` is false.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size == 0:
        return
    with _opened(path, _FORMAT) as f:
        if overwrite:
            return
        provenance = _read_provenance(path, f)
        counts = tuple(int(f[f"halves/{name}"].attrs["count"]) for name in "AB")
        found = Identity.of(provenance, "responses" in f, (*counts, *f["frames/file"].shape))
    if not same(found):
        raise Error(
            f"{path}: already holds another measurement ({sum(counts)} frames of {len(found.files)} files); "
            "use overwrite=True to replace it"
        )


def _read_provenance(path: Path, f: h5py.File) -> dict[str, Any]:
    """Provenance of a sensor file or checkpoint, and shape and dtype of its frames."""
    from camnorm.io.base.hdf5guard import texts_of, value_of, values_of

    group = f["provenance"]
    provenance = {name: value_of(path, group, name) for name in group.attrs}
    for key in {"screening", *(_JSON.keys() & provenance.keys())}:
        provenance[key] = _from_json(key, provenance[key])
    ReadOptions.from_dict(provenance.get("reading", {}))  # damage is not to wait until they are used
    provenance["command"] = texts_of(path, group["command"], _NAMES)
    stored = f["files"]
    files = np.empty(stored["path"].shape, FILE_DTYPE)
    files["path"] = texts_of(path, stored["path"], _NAMES)
    for column in ("size", "mtime"):
        files[column] = values_of(path, stored[column])
    return {**provenance, "files": files}


def _from_json(key: str, text: str) -> Any:
    """Read a part of the provenance; ValueError if it is not what this may be."""
    value = json.loads(text)
    if not isinstance(value, _JSON[key]):
        raise ValueError(f"{key} is no {_JSON[key].__name__}")
    for entry in value if isinstance(value, list) else [value] if value else []:
        for name, least in _NUMBERS.get(key, {}).items():
            number = entry.get(name) if isinstance(entry, dict) else None
            if not isinstance(number, (int, float)) or number < least:
                raise ValueError(f"{key} has no {name}, or one that cannot be")
    return value


def _add_groups(
    groups: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], sign: int = 1
) -> list[dict[str, Any]]:
    """Groups of files of two measurements put together, or the second taken away."""
    sums: dict[str, dict[str, Any]] = {}
    for group, factor in (*((group, 1) for group in groups), *((group, sign) for group in others)):
        kind = {key: value for key, value in group.items() if key not in ("files", "frames")}
        total = sums.setdefault(json.dumps(kind), {**kind, "files": 0, "frames": 0})
        for name in ("files", "frames"):
            total[name] += factor * group[name]
    return [group for group in sums.values() if group["frames"] > 0]


def _read_only(image: Image) -> Image:
    image.flags.writeable = False
    return image


def reserve(file: IO[bytes], size: int) -> None:
    """Raise OSError if an empty file cannot grow to this size, where the system can tell."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # what the file system cannot tell
            raise
    file.truncate(0)


@contextmanager
def _opened(path: str | os.PathLike[str], kind: str) -> Iterator[h5py.File]:
    """Open an HDF5 file of ours; what goes wrong with it becomes a FormatError."""
    import h5py

    from camnorm.io.base.hdf5guard import text_of, value_of

    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a pipe would wait for ever
        raise FormatError(path, f"not a {kind} file: no regular file")
    with open(path, "rb") as raw:
        signature = raw.read(8)
    if signature != b"\x89HDF\r\n\x1a\n":
        raise FormatError(path, f"not a {kind} file: it is no HDF5")
    try:
        f = h5py.File(path, "r")
    except OSError as error:
        raise_shortage(error)
        size = Path(path).stat().st_size
        raise FormatError(
            path, f"truncated or damaged HDF5 file: {_first_line(error)}", offset=size
        ) from None
    try:
        with f:
            found = text_of(Path(path), f, "format")
            ours = found.startswith("camnorm ")  # others may keep anything there
            if not ours or found != kind:
                raise FormatError(path, f"not a {kind} file" + (f" but a {found} file" if ours else ""))
            schema = value_of(Path(path), f, "schema") if "schema" in f.attrs else 0
            if schema > SCHEMA:
                raise FormatError(
                    path, f"written by a newer camnorm: schema {schema}, this version reads up to {SCHEMA}"
                )
            yield f
    except FormatError:
        raise
    except Exception as error:  # damage drives h5py into nearly any exception
        raise_shortage(error)
        raise FormatError(path, f"damaged {kind} file: {_first_line(error)}") from None


def _encoded(text: str) -> bytes:
    return text.encode(errors=_NAMES)


def _first_line(error: Exception) -> str:
    text = str(error.args[0]) if error.args else ""
    return text.partition("\n")[0] or type(error).__name__
