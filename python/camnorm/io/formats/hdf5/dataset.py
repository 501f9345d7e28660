"""Which dataset of an HDF5 file holds the frames: the one named, that of NeXus, or the only large one."""

from __future__ import annotations

import itertools
import math
import posixpath
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from camnorm.errors import FormatError, raise_shortage
from camnorm.io.base.containers import Candidate, pick, type_fault
from camnorm.io.base.hdf5guard import NoSuchNameError, located, open_object, text_of
from camnorm.io.base.options import ReadOptions
from camnorm.io.formats.hdf5.axes import Axes, axes_of, is_velox

_OURS = "camnorm "  # sensor files and checkpoints
_MAX_DEFAULTS = 16  # of a chain of @default
# The datasets of which the writers of Dectris detectors make one sequence, each in a file of its own.
_NUMBERED = re.compile(r"data_(\d{3,})")


@dataclass(frozen=True)
class Series:
    """Datasets that hold the frames of one sequence in turn."""

    group: str
    names: tuple[str, ...]
    counts: tuple[int, ...]
    """Number of frames of each."""
    frame: tuple[int, ...]
    """Shape of a frame."""
    dtype: np.dtype[Any]

    @property
    def places(self) -> list[str]:
        """Path of each dataset."""
        return [f"{self.group.rstrip('/')}/{name}" for name in self.names]


def find_dataset(path: Path, h5: h5py.File, options: ReadOptions) -> Series | tuple[h5py.Dataset, Axes]:
    """The dataset of images and its axes, or several datasets that make one sequence.

    Raises
    ------
    FormatError
        There is none, or several that can be meant, or what may be it cannot be opened or read.
    """
    name, follow = options.dataset, options.follow_links
    if kind := own_kind(path, h5):
        raise FormatError(path, f"a {kind} file, which holds no images; name image files as inputs")
    found = _default(path, h5, follow) if name is None else _named(path, h5, name, follow)
    if isinstance(found, h5py.Dataset):
        return found, axes_of(path, found)
    if isinstance(found, Series):
        return found
    search = _Search(path, follow)
    search.look_through(_Place(path, found, posixpath.join("/", name or "")))
    signals = {place: signal for place, signal in search.signals.items() if signal.may_be_frames(place)}
    return search.opened[pick(path, signals or search.candidates)]


def own_kind(path: Path, h5: h5py.File) -> str | None:
    """What a file is that is one of camnorm's own: a sensor file, a checkpoint; None of others."""
    kind = text_of(path, h5, "format")
    return kind if kind.startswith(_OURS) else None


def _named(path: Path, h5: h5py.File, name: str, follow: bool) -> h5py.Dataset | h5py.Group:
    try:
        found = _follow(path, h5, name, follow)
    except NoSuchNameError:
        raise FormatError(path, f"there is no {name} in it") from None
    if isinstance(found, h5py.Dataset) and (len(found.shape or ()) < 2 or type_fault(found.dtype)):
        reason = f"{found.name} of shape {found.shape} and type {found.dtype} holds no images"
        raise FormatError(path, reason)
    return found


def _default(path: Path, h5: h5py.File, follow: bool) -> h5py.Dataset | h5py.Group | Series:
    """Where the defaults of a NeXus file lead: to frames, or the file if they lead to none."""
    group, place = h5, "/"
    for _ in range(_MAX_DEFAULTS):
        for attribute in ("signal", "default"):
            name = text_of(path, group, attribute)
            found = None
            with suppress(NoSuchNameError):
                found = _follow(path, group, name, follow) if name else None
            if found is not None:
                break
        if isinstance(found, h5py.Dataset):
            return _signal(_Search(path, follow), group, place, name, found) or h5
        if not isinstance(found, h5py.Group):
            break
        group, place = found, posixpath.join(place, name)
    return h5


def _signal(
    search: _Search, group: h5py.Group, place: str, name: str, found: h5py.Dataset
) -> h5py.Dataset | Series | None:
    """The frames that NeXus names, or the sequence of which they are part; None if they are no frames."""
    candidate, _ = search.candidate(found)
    if not candidate.may_be_frames(""):  # but a curve, say
        return None
    numbers = _Place(search.path, group, place)
    if _NUMBERED.fullmatch(name) and (sequence := search.look_at_series(numbers, numbers.numbered())):
        pick(search.path, search.candidates)
        series = search.opened[sequence]
        assert isinstance(series, Series)
        return series
    pick(search.path, {posixpath.join(place, name): replace(candidate, sure=True)})
    return found


def _follow(path: Path, group: h5py.Group, name: str, follow: bool) -> Any:
    try:
        return open_object(path, group, name, follow)
    except NoSuchNameError:
        raise
    except KeyError as error:
        raise_shortage(error)
        place = posixpath.join(group.name, name)
        raise FormatError(path, _fault(group, place, name, error)) from None


def _fault(group: h5py.Group, place: str, name: str, error: Exception) -> str:
    """Why what has this name in a group cannot be opened."""
    if isinstance(error, FormatError):
        return error.reason
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        if located(link.filename, Path(group.file.filename), "HDF5_EXT_PREFIX") is None:
            return f"{place} is in the file {link.filename}, which is missing"
        return f"{place} is {link.path} of the file {link.filename}, which is damaged or has no such dataset"
    if isinstance(link, h5py.SoftLink):
        return f"{place} is a link to {link.path}, which is missing"
    return f"{place} cannot be opened ({error})"


class _Place:
    """A group that is searched.

    Parameters
    ----------
    path : pathlib.Path
        The file to be named in errors.
    group : h5py.Group
        The group.
    where : str
        Its path as seen from the file that was opened, which may be another than that of the group.
    """

    def __init__(self, path: Path, group: h5py.Group, where: str) -> None:
        self.group = group
        self.path = where
        self.names: list[str] = list(group)
        self.signal = text_of(path, group, "signal")
        self.is_emd = "dim1" in self.names and "emd_group_type" in group.attrs
        self.file: bytes = h5py.h5f.get_name(group.id)
        self.name: str = group.name or ""

    def numbered(self) -> list[str]:
        """Names that are those of one sequence, in order."""
        found = {name: int(match[1]) for name in self.names if (match := _NUMBERED.fullmatch(name))}
        return sorted(found, key=lambda name: found[name])


class _Search:
    """The datasets below a group that can be frames, and names behind which frames may be."""

    def __init__(self, path: Path, follow: bool) -> None:
        self.path = path
        self.candidates: dict[str, Candidate] = {}
        self.signals: dict[str, Candidate] = {}
        """Those that NeXus, or the place at which Velox stores images, calls the data."""
        self.opened: dict[str, Series | tuple[h5py.Dataset, Axes]] = {}
        self._follow = follow
        self._seen: set[tuple[int, int]] = set()
        self._groups: list[_Place] = []
        self._known: set[tuple[bytes, str]] = set()  # file and path of what has been found
        self._soft: list[tuple[_Place, str]] = []  # links within a file

    def look_through(self, top: _Place) -> None:
        """Find all of them, each once."""
        self._groups.append(top)
        while self._groups:
            group = self._groups.pop()
            numbered = group.numbered()
            if not self.look_at_series(group, numbered):
                numbered = []
            for name in group.names:
                if name not in numbered:
                    self.look_at(group, name)
        for group, name in self._soft:
            self._check_soft(group, name)

    def look_at(self, place: _Place, name: str) -> str | None:
        """Note what bears a name in a group: a candidate, of which the place is returned, or a group."""
        where = posixpath.join(place.path, name)
        signal = name == place.signal
        try:
            kind = place.group.id.links.get_info(name.encode()).type
            if kind == h5py.h5l.TYPE_SOFT:  # what it points to is found where it is
                self._soft.append((place, name))
                return None
            found = open_object(self.path, place.group, name, self._follow)
            self._known.add((place.file, posixpath.join(place.name, name)))
            information = h5py.h5o.get_info(found.id)
            key = information.fileno, information.addr
            if key in self._seen:
                return None
            self._seen.add(key)
            if isinstance(found, h5py.Group):
                self._groups.append(_Place(self.path, found, where))
            if not isinstance(found, h5py.Dataset) or not _may_have_pixels(found):
                return None
            plain = kind == h5py.h5l.TYPE_HARD and not place.is_emd
            candidate, axes = self.candidate(found, where if plain else "")
            self.opened[where] = found, axes
            signal |= "signal" in found.attrs or candidate.sure
        except Exception as error:  # damage drives h5py into nearly any exception
            raise_shortage(error)
            candidate = Candidate(fault=_fault(place.group, where, name, error))
        self._add(where, candidate, signal)
        return where

    def _check_soft(self, place: _Place, name: str) -> None:
        """Note a link that leads nowhere."""
        link = place.group.get(name, getlink=True)
        if (place.file, posixpath.normpath(posixpath.join(place.name, link.path))) in self._known:
            return
        try:
            open_object(self.path, place.group, name, self._follow)
        except Exception as error:  # damage drives h5py into nearly any exception
            raise_shortage(error)
            where = posixpath.join(place.path, name)
            self._add(where, Candidate(fault=_fault(place.group, where, name, error)), name == place.signal)

    def look_at_series(self, place: _Place, names: Sequence[str]) -> str | None:
        """Note a sequence of datasets, of which the place is returned; None if it is none of frames."""
        if len(names) < 2:
            return None
        parts: list[Candidate] = []
        for name in names:
            search = _Search(self.path, self._follow)  # of which no more than one file is open
            found = search.look_at(place, name)
            if found is None:
                return None
            parts.append(search.candidates[found])
        candidate = _joined(place.path, names, parts)
        if not candidate.fault:
            counts = tuple(math.prod(part.shape[: -len(part.frame)]) for part in parts)
            dtype = np.dtype(candidate.kind)
            self.opened[place.path] = Series(place.path, tuple(names), counts, candidate.frame, dtype)
        self._add(place.path, candidate, place.signal in names)
        return place.path

    def _add(self, place: str, candidate: Candidate, signal: bool) -> None:
        self.candidates[place] = candidate
        if signal:
            self.signals[place] = candidate

    def candidate(self, dataset: h5py.Dataset, place: str = "") -> tuple[Candidate, Axes]:
        """What an open dataset is; `place` is its path if it is neither linked nor in a group of EMD."""
        shape, fault = dataset.shape, type_fault(dataset.dtype)
        velox = is_velox(place or dataset.name)  # of which HDF5 takes time to tell the latter
        axes = Axes.of(shape)
        if velox or not place:
            try:
                axes = axes_of(self.path, dataset)
            except FormatError as error:
                fault = fault or error.reason
        return Candidate(shape, axes.frame, str(dataset.dtype.newbyteorder("=")), fault, velox), axes


def _may_have_pixels(dataset: h5py.Dataset) -> bool:
    """Whether a dataset has two axes, and no text or references in them."""
    return len(dataset.shape or ()) > 1 and (dataset.dtype.kind in "biufc" or bool(dataset.dtype.names))


def _joined(place: str, names: Sequence[str], parts: Sequence[Candidate]) -> Candidate:
    """The sequence of numbered datasets, with its problems."""
    first = parts[0]
    numbers = [int(name.partition("_")[2]) for name in names]
    for number, found, name, part in zip(
        itertools.count(min(numbers[0], 1)), numbers, names, parts, strict=False
    ):
        if found != number:
            missing = f"data_{number:0{len(name) - len('data_')}d}"
            return Candidate(fault=f"{posixpath.join(place, missing)} is missing, {name} is there")
        if not part.shape:
            return part
        if (part.frame, part.kind) != (first.frame, first.kind):
            kinds = f"{part.frame} {part.kind}; those of {names[0]} {first.frame} {first.kind}"
            return Candidate(fault=f"the frames of {posixpath.join(place, name)} are {kinds}")
    count = sum(math.prod(part.shape[: -len(part.frame)]) for part in parts)
    return Candidate((count, *first.frame), first.frame, first.kind, first.fault)
