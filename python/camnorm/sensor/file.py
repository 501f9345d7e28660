"""The sensor file: HDF5, written atomically, checked when it is read."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from camnorm.errors import Error
from camnorm.io.base.atomic import Protected, atomic_target
from camnorm.sensor.contents import SCHEMA, Contents, stored_parts
from camnorm.sensor.digest import ATTRIBUTE, Digests, digests
from camnorm.sensor.narrow import read_sums, stored_dtype, write_sums
from camnorm.sensor.opening import open_ours
from camnorm.sensor.plausibility import (
    check_files,
    check_frames,
    check_halves,
    check_neighbours,
    check_responses,
)
from camnorm.sensor.provenance import Identity, as_attributes, from_attributes, from_moments, reading_of
from camnorm.sensor.table import FILE_DTYPE, FRAME_DTYPE, NAME_ERRORS, STATISTICS
from camnorm.statistics.moments import PixelMoments
from camnorm.statistics.neighbours import NeighbourSums
from camnorm.statistics.response import PixelResponse

if TYPE_CHECKING:
    import h5py

__all__ = [
    "FORMAT",
    "check_replaceable",
    "check_room",
    "read_contents",
    "reserve",
    "save_contents",
    "write_contents",
]

FORMAT = "camnorm sensor"

_GIVE = "; give the file that `camnorm measure` wrote"
_ADVICE = "; restore the file from a copy, or measure again"


def save_contents(
    path: str | os.PathLike[str], contents: Contents, overwrite: bool, protected: Protected | None = None
) -> None:
    """Write a sensor file atomically.

    Parameters
    ----------
    path : path-like
        The file.
    contents : Contents
        What it is to hold.
    overwrite : bool
        Whether it may replace another measurement.
    protected : Protected, optional
        Files that it may not replace.

    Raises
    ------
    FormatError
        If there is a file of another kind, which is not replaced.
    Error
        If there is another measurement, and `overwrite` is false; if the file is protected, or another
        process is writing it.
    OSError
        If it cannot be written; a file that was there before is unharmed then.
    """
    protected = protected or Protected()
    protected.check(Path(path))
    check_replaceable(path, overwrite, lambda found: found == contents.identity)
    with atomic_target(path, overwrite=True, protected=protected) as temporary:
        write_contents(temporary, contents)


def write_contents(
    path: str | os.PathLike[str],
    contents: Contents,
    attributes: Mapping[str, Any] | None = None,
    arrays: Mapping[str, npt.NDArray[Any]] | None = None,
) -> None:
    """Write contents, and what a checkpoint holds besides, to a temporary file that exists already.

    Parameters
    ----------
    path : path-like
        The file.
    contents : Contents
        What it is to hold.
    attributes : mapping, optional
        Further attributes of the file; ``format`` among them is the kind of file.
    arrays : mapping, optional
        Further data sets.
    """
    import h5py

    with digests() as found:
        dtypes = {name: stored_dtype(part, found) for name, part in contents.parts.items()}
        # A full disk is detected here, because the error of HDF5 would not name it.
        with open(path, "r+b") as file:
            reserve(file, contents.nbytes(dtypes) + sum(array.nbytes for array in (arrays or {}).values()))
        # Without HDF5's lock: the temporary file is locked already.
        with h5py.File(path, "w", locking=False) as f:
            _write_open(
                f,
                contents,
                dtypes,
                {"format": FORMAT, "schema": contents.schema, **(attributes or {})},
                arrays or {},
                found,
            )


def _write_open(
    f: h5py.File,
    contents: Contents,
    dtypes: Mapping[str, np.dtype[Any]],
    attributes: Mapping[str, Any],
    arrays: Mapping[str, npt.NDArray[Any]],
    found: Digests,
) -> None:
    _put_attributes(f, attributes, found)
    for name, array in arrays.items():
        _put(f, name, array, found)
    for name, sums in contents.sums.items():
        _put_attributes(f.create_group(name), sums.numbers(), found)
    for name, part in contents.parts.items():
        write_sums(f, name, part, dtypes[name], found)
    _write_tables(f, contents.provenance["files"], contents.frames, found)
    group = f.create_group("provenance")
    # A data set, since attributes end at 64 kB and a command may name 20,000 files.
    _put(group, "command", _encoded(contents.provenance["command"]), found)
    shape, dtype = contents.halves[0].shape, contents.halves[0].dtype.name
    _put_attributes(group, {"shape": shape, "dtype": dtype, **as_attributes(contents.provenance)}, found)
    f.attrs[ATTRIBUTE] = found.as_text()


def _put(group: h5py.Group, name: str, data: Any, found: Digests) -> None:
    """Write numbers, strings of a fixed length, or one string or a list of these, as a data set."""
    import h5py

    text = isinstance(data, (bytes, list))
    dataset = group.create_dataset(name, data=data, dtype=h5py.string_dtype() if text else None)
    found.add(dataset.name, data)


def _put_attributes(group: h5py.Group, attributes: Mapping[str, Any], found: Digests) -> None:
    for name, value in attributes.items():
        group.attrs[name] = value
        found.add(f"{group.name}@{name}", value)


def _write_tables(
    f: h5py.File, files: npt.NDArray[np.void], frames: npt.NDArray[np.void], found: Digests
) -> None:
    group = f.create_group("files")
    _put(group, "path", [_encoded(name) for name in files["path"]], found)
    for column in ("size", "mtime"):
        _put(group, column, files[column], found)
    number = {path: i for i, path in enumerate(files["path"])}
    group = f.create_group("frames")
    _put(group, "file", np.array([number[path] for path in frames["file"]], np.int64), found)
    for column in ("index", *STATISTICS):
        _put(group, column, frames[column], found)
    for column in ("half", "status"):
        _put(group, column, np.char.encode(frames[column], "ascii"), found)
    _put(group, "reason", [_encoded(reason) for reason in frames["reason"]], found)


def read_contents(
    path: str | os.PathLike[str], kind: str = FORMAT
) -> tuple[Contents, dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read what `write_contents` wrote.

    Parameters
    ----------
    path : path-like
        The file.
    kind : str
        What ``format`` must say.

    Returns
    -------
    contents : Contents
    attributes, arrays : dict
        Of the file itself, what else it holds among them.

    Raises
    ------
    FormatError
        If it is a file of another kind, is truncated or damaged, or was written by a newer camnorm.
    OSError
        If there is no such file, or it cannot be opened.
    """
    from camnorm.io.base.hdf5guard import check_whole

    path = Path(path)
    hints = (_GIVE, _ADVICE) if kind == FORMAT else ()
    with open_ours(path, kind, SCHEMA, *hints) as f, digests() as found:
        check_whole(path, f)
        reader = _Reader(path, found)
        attributes = reader.attributes(f)
        digest = attributes.pop(ATTRIBUTE, None)
        arrays = {name: reader.values(item) for name, item in f.items() if not hasattr(item, "items")}
        contents = _read_open(reader, f)
        if digest is not None:  # else the file was written before there were digests
            found.check(str(digest))
        return contents, attributes, arrays


class _Reader:
    """Reads parts of an open file, and collects their digests."""

    def __init__(self, path: Path, found: Digests) -> None:
        self.path = path
        self.found = found

    def attributes(self, group: h5py.Group) -> dict[str, Any]:
        """All attributes of a group."""
        return {name: self.attribute(group, name) for name in group.attrs}

    def attribute(self, group: h5py.Group, name: str) -> Any:
        """One attribute of a group."""
        from camnorm.io.base.hdf5guard import value_of

        return self._seen(f"{group.name}@{name}", value_of(self.path, group, name))

    def values(self, dataset: h5py.Dataset) -> Any:
        """Numbers, or strings of a fixed length."""
        from camnorm.io.base.hdf5guard import values_of

        return self._seen(dataset.name, values_of(self.path, dataset))

    def texts(self, dataset: h5py.Dataset) -> Any:
        """Strings of any length."""
        from camnorm.io.base.hdf5guard import texts_of

        return self._seen(dataset.name, texts_of(self.path, dataset, NAME_ERRORS))

    def _seen(self, name: str, value: Any) -> Any:
        self.found.add(name, value)
        return value


def _read_open(reader: _Reader, f: h5py.File) -> Contents:
    provenance = _read_provenance(reader, f)
    shape = tuple(int(n) for n in provenance.pop("shape"))
    dtype = np.dtype(provenance.pop("dtype"))

    def half(name: str) -> PixelMoments:
        group = _group_of(f, "halves", name, shape)
        moments = PixelMoments(shape, dtype)
        _read_sums(reader, group, moments)
        return moments

    def response(name: str) -> PixelResponse:
        group = _group_of(f, "responses", name, shape)
        sums = PixelResponse(shape, dtype)
        _read_sums(reader, group, sums)
        return sums

    def neighbours_of(name: str, moments: PixelMoments) -> NeighbourSums:
        group = _group_of(f, "neighbours", name, shape)
        sums = NeighbourSums(shape, dtype)
        _read_sums(reader, group, sums)
        check_neighbours(name, sums, moments)
        return sums

    check_files(provenance["files"])
    frames = _read_frames(reader, f["frames"], provenance["files"]["path"])
    halves = half("A"), half("B")
    responses = (response("A"), response("B")) if "responses" in f else None
    check_halves(halves, frames, from_moments(provenance))
    if responses is not None:
        check_responses(responses, halves, frames)
    neighbours = None
    if "neighbours" in f:
        neighbours = neighbours_of("A", halves[0]), neighbours_of("B", halves[1])
    return Contents(halves, frames, provenance, responses, neighbours)


def _group_of(f: h5py.File, kind: str, name: str, shape: tuple[int, ...]) -> h5py.Group:
    """Group of sums, of this shape: seen before so much memory is asked for."""
    stored = f[kind][name]
    for part, dataset in stored.items():
        if dataset.shape != shape:
            raise ValueError(f"{part} has shape {dataset.shape}, not {shape}")
    return stored


def _read_sums(
    reader: _Reader, group: h5py.Group, sums: PixelMoments | PixelResponse | NeighbourSums
) -> None:
    for part, array in stored_parts(sums).items():
        read_sums(group[part], array, reader.found)
    sums.set_numbers({name: reader.attribute(group, name).item() for name in sums.numbers()})


def _read_frames(reader: _Reader, group: h5py.Group, files: npt.NDArray[np.object_]) -> npt.NDArray[np.void]:
    numbers = reader.values(group["file"])
    if numbers.dtype.kind not in "iu" or numbers.ndim != 1:
        raise ValueError("frame table: the numbers of files are no integers")
    frames = np.empty(numbers.shape, FRAME_DTYPE)
    for column in ("index", *STATISTICS):
        frames[column] = reader.values(group[column])
    for column in ("half", "status"):
        frames[column] = np.char.decode(reader.values(group[column]), "ascii")
    frames["reason"] = reader.texts(group["reason"])
    check_frames(numbers, frames, len(files))
    frames["file"] = files[numbers]
    return frames


def _read_provenance(reader: _Reader, f: h5py.File) -> dict[str, Any]:
    """Provenance of a sensor file or checkpoint, and shape and dtype of its frames."""
    group = f["provenance"]
    provenance = from_attributes(reader.attributes(group))
    reading_of(provenance)  # damage is not to wait until they are used
    provenance["command"] = reader.texts(group["command"])
    stored = f["files"]
    files = np.empty(stored["path"].shape, FILE_DTYPE)
    files["path"] = reader.texts(stored["path"])
    for column in ("size", "mtime"):
        files[column] = reader.values(stored[column])
    return {**provenance, "files": files}


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
    with open_ours(path, FORMAT, SCHEMA) as f, digests() as unused:
        if overwrite:
            return
        provenance = _read_provenance(_Reader(path, unused), f)
        counts = tuple(int(f[f"halves/{name}"].attrs["count"]) for name in "AB")
        found = Identity.of(
            provenance, ("responses" in f, "neighbours" in f), (*counts, *f["frames/file"].shape)
        )
    if not same(found):
        files = "1 file" if len(found.files) == 1 else f"{len(found.files)} files"
        raise Error(
            f"{path}: already holds another measurement ({sum(counts)} frames of {files}); "
            "use overwrite=True to replace it"
        )


def check_room(file: IO[bytes], size: int) -> None:
    """Raise OSError if the file system of a file says that it has less room than this.

    It costs nothing, but knows of no quotas.
    """
    if hasattr(os, "fstatvfs"):
        room = os.fstatvfs(file.fileno())
        if room.f_blocks and room.f_bfree * room.f_frsize < size:  # some tell nothing
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


def _encoded(text: str) -> bytes:
    return text.encode(errors=NAME_ERRORS)
