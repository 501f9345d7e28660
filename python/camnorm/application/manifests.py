"""Frames that are corrected when they are read: a manifest names the movie and a file of the correction."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from camnorm import _core
from camnorm.application import is_manifest
from camnorm.correction.correction import Correction
from camnorm.errors import FormatError
from camnorm.io.base.atomic import AtomicFile, Protected, sync_directory
from camnorm.io.base.hdf5guard import check_whole
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.registry import open_frames
from camnorm.io.base.rows import is_flipped
from camnorm.io.base.selection import runs
from camnorm.io.base.source import FrameSource, MappedFile, decoding, scaling_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KIND = "corrected frames"
_CORRECTION = "camnorm correction"
_SCHEMA = 1
_MAX_BYTES = 2**20  # of a manifest
_IMAGES = ("mean", "sigma", "bad")
_VALUES = ("target_mean", "target_sigma", "bad_policy")

_loading = threading.Lock()


class VirtualSource(FrameSource):
    """The frames of another file, corrected: the same bits as `camnorm correct` writes."""

    format = "camnorm manifest"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        with decoding(file.path):
            manifest = _read_manifest(file)
            told = manifest["source"]
            path = _find(file.path, told)
            correction = Path(file.path.parent, manifest["correction"])
            recorded = ReadOptions.from_dict(manifest["options"])
            self._named = [correction]
            for reference in manifest["references"]:
                self._named.append(Path(reference["absolute"]))
                _check_unchanged(file.path, self._named[-1], reference)
            dtype = np.dtype(manifest["dtype"])
            metadata = scaling_in(manifest["label"])
            chosen: Sequence[int] | None = manifest["frames"]
        self._source = source = open_frames(path, recorded)
        self.row_order = source.origin.row_order
        try:
            with decoding(file.path), _loading:
                self._chosen = range(source.count) if chosen is None else chosen
                if any(
                    type(a) is not int or not 0 <= a < b for a, b in pairwise([*self._chosen, source.count])
                ):
                    raise FormatError(file.path, f"frames {chosen} of {source.count}")
                if not correction.is_file():
                    raise FormatError(file.path, f"the correction that it names is not there: {correction}")
                status = correction.stat()
                key = manifest["digest"], status.st_mtime_ns, status.st_size
                self._correction = _load_correction(correction, source.shape, key)
            super().__init__(
                file,
                shape=source.shape,
                dtype=dtype,
                count=len(self._chosen),
                available=bisect_left(self._chosen, source.available),
                metadata=source.metadata | metadata,
            )
            self.sequential = source.sequential  # type: ignore[misc]
            self.remarks = source.remarks
        except BaseException:
            source.close()
            raise

    @property
    def files(self) -> list[Path]:
        """All files that frames are read from: the manifest, and what it names."""
        return [self.path, *self._source.files, *self._named]

    def check_whole(self) -> None:
        """Compare the checksum of the corrected file; see `FrameSource`."""
        try:
            self._source.check_whole()
        finally:
            self.available = bisect_left(self._chosen, self._source.available)

    def close(self) -> None:
        """Close the files; arrays that were read from them stay valid."""
        self._source.close()
        super().close()

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        frames: NDArray[Any] = np.empty((stop - start, *self.shape), self.dtype)
        place = 0
        for first, last in runs(self._chosen[start:stop]):
            raw = self._source.view(first, last)
            with decoding(self.path, start):
                self._correction.apply(raw, frames[place : place + len(raw)], None, 1, None)
            place += len(raw)
        if is_flipped(self._source.row_order, self.row_order):  # as `camnorm correct` writes them
            frames = frames[:, ::-1]
        if self._correction.clipped:
            warnings.warn(f"corrected pixels lay outside {self.dtype} and were saturated", stacklevel=2)
        return frames


def write_manifest(
    path: Path,
    source: FrameSource,
    frames: Sequence[int],
    options: ReadOptions,
    dtype: np.dtype[Any],
    correction: Path,
    label: str,
    overwrite: bool,
    protected: Protected,
) -> AtomicFile:
    """Write what makes `open_frames` correct the frames of a source: on disk, and to be put in its place."""
    manifest = {
        "camnorm": _KIND,  # first: by this it is known
        "schema": _SCHEMA,
        "version": _core.version,
        "label": label,
        "source": _tell(source.path, path),
        "options": options.to_dict(),
        "references": [_tell(used, path) for used in (options.gain, options.defects) if used is not None],
        "frames": None if frames == range(source.count) else list(frames),
        "dtype": dtype.name,
        "correction": os.path.relpath(correction, path.parent),
        "digest": correction.stem.rpartition("-")[2],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    target = AtomicFile(path, overwrite, protected)
    try:
        with target.writing(), open(target.temporary, "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        target.discard()
        raise
    return target


def _tell(file: Path, manifest: Path) -> dict[str, Any]:
    """Where a file is, and what tells that it is still the same."""
    status = os.stat(file)
    return {
        "path": os.path.relpath(file, manifest.parent),
        "absolute": os.path.abspath(file),
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
    }


def save_correction(folder: Path, correction: Correction) -> Path:
    """Save a correction in a folder, under a name that identifies its content."""
    folder.mkdir(parents=True, exist_ok=True)
    # Another process that corrects other files into this folder may be writing the same.
    target = AtomicFile(folder / "correction.camnorm", overwrite=True, wait=True)
    try:
        with target.writing(), open(target.temporary, "r+b") as file:
            with h5py.File(file, "w") as f:
                f.attrs["format"] = _CORRECTION
                f.attrs["schema"] = _SCHEMA
                for name in _VALUES:
                    f.attrs[name] = getattr(correction, name)
                for name in _IMAGES:
                    f[name] = getattr(correction, name)
            file.flush()
            os.fsync(file.fileno())
        target.path = folder / f"correction-{_digest(target.temporary)}.camnorm"
        target.commit()
    except BaseException:
        target.discard()
        raise
    sync_directory(folder)
    return target.path


def _digest(path: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    with open(path, "rb") as file:
        while data := file.read(2**20):
            digest.update(data)
    return digest.hexdigest()


def _read_manifest(file: MappedFile) -> dict[str, Any]:
    text = file.read(0, _MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise FormatError(file.path, f"damaged: a manifest of more than {_MAX_BYTES} bytes")
    manifest: dict[str, Any] = json.loads(text)
    if manifest["camnorm"] != _KIND:
        raise FormatError(file.path, f"a manifest of {manifest['camnorm']}, not of {_KIND}")
    if manifest["schema"] > _SCHEMA:
        raise FormatError(file.path, f"written by a newer camnorm: schema {manifest['schema']}")
    return manifest


def _find(manifest: Path, told: dict[str, Any]) -> Path:
    """The file that a manifest is about: beside it if both were moved, else where it was."""
    candidates = (manifest.parent / told["path"], Path(told["absolute"]))
    path = next((path for path in candidates if path.exists()), None)
    if path is None:
        raise FormatError(manifest, f"the file that it corrects is not there: {told['absolute']}")
    _check_unchanged(manifest, path, told)
    if path.is_file():
        with open(path, "rb") as file:
            if is_manifest(path, file.read(1024)):  # of itself, perhaps
                raise FormatError(manifest, f"{path} is a manifest itself")
    return path


def _check_unchanged(manifest: Path, path: Path, told: dict[str, Any]) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise FormatError(manifest, f"the file that it needs is not there: {path}") from None
    if (status.st_size, status.st_mtime_ns) != (told["size"], told["mtime_ns"]):
        raise FormatError(manifest, f"{path} has changed since: correct it again")


@lru_cache(maxsize=1)  # all files of a run have the same
def _load_correction(path: Path, shape: tuple[int, ...], key: tuple[str, int, int]) -> _core.Correction:
    """Load a correction of frames of a shape; the key tells its digest, and the file as it is now."""
    # A damaged file could keep the HDF5 library busy for ever.
    if _digest(path) != key[0]:
        raise FormatError(path, "damaged, or another correction than that of the manifest")
    with decoding(path), h5py.File(path) as f:
        if f.attrs["format"] != _CORRECTION:
            raise FormatError(path, f"not a {_CORRECTION}")
        check_whole(path, f)
        if any(f[name].shape != shape for name in _IMAGES):
            raise FormatError(path, f"a correction of frames of shape {f['mean'].shape}, not {shape}")
        mean, sigma, bad = (f[name][()] for name in _IMAGES)
        target_mean, target_sigma, bad_policy = (f.attrs[name] for name in _VALUES)
        i0, s0 = (np.asarray(target, np.float64).tolist() for target in (target_mean, target_sigma))
        return _core.Correction(mean, sigma, i0, s0, bad, bad_policy)
