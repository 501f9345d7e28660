"""Zarr stores that are directories, of versions 2 and 3, and images of OME-Zarr (zarr)."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from camnorm.errors import FormatError
from camnorm.io.base.containers import (
    EXPANSION,
    Candidate,
    check_size,
    frame_axes,
    is_supported,
    pick,
    read_frames,
)
from camnorm.io.base.links import check_link, check_place
from camnorm.io.base.options import ReadOptions
from camnorm.io.base.source import FrameSource, MappedFile, decoding, scaling_in

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OURS = "camnorm "  # begins the label of what correct writes
_CHUNK = re.compile(r"c|\d+([./]\d+)*")  # names of chunks, or of folders of them
_MAX_CHUNKS = 2**20  # of one frame; more are damage
_ANGSTROM = {"angstrom": 1, "nanometer": 10, "micrometer": 1e4, "millimeter": 1e7}


class ZarrSource(FrameSource):
    """Frames in an array of a Zarr store.

    The array is the one that `ReadOptions` names, the image of OME-Zarr in full resolution, or the only
    large one. All its axes but the last two count frames; the last is one of colours if OME-Zarr says so,
    or is not named and has length 3 or 4.
    """

    format = "Zarr"

    def __init__(self, file: MappedFile, options: ReadOptions) -> None:
        self._follow = options.follow_links
        self._folders: set[str] = set()  # of chunks, that are within the store
        with decoding(file.path):
            place, image = _find(file.path, options)
            self._array = array = _open(place)
            shape: tuple[int, ...] = array.shape
            names = [axis.get("name") if isinstance(axis, dict) else axis for axis in image.get("axes", ())]
            axes = 2 + (names[-1] == "c") if len(names) == len(shape) else frame_axes(shape)
            if len(shape) < 2 or not is_supported(array.dtype):
                reason = f"an array of shape {shape} and type {array.dtype} holds no images"
                raise FormatError(file.path, reason)
            self._leading = shape[:-axes]
            self._chunks = _ChunkFiles(place)
            label = str(array.attrs.get("label", ""))
            self._complete = label.startswith(_OURS)
            metadata: dict[str, Any] = {"dataset": os.path.relpath(place, file.path)}
            metadata |= _pixel_size(image, names) | scaling_in(label)
            # To be allocated for a frame: it, or a chunk that is larger.
            pixels = max(math.prod(shape[-axes:]), math.prod(self._chunks.shape))
            frame_bytes = pixels * array.dtype.itemsize
            count = math.prod(self._leading)
            # Chunks that are not there stand for frames too.
            stored = _stored_bytes(place, max(count, frame_bytes // EXPANSION))
            check_size(file.path, stored, frame_bytes, shape[-axes:], count)
        super().__init__(
            file, shape=shape[-axes:], dtype=array.dtype, count=count, available=count, metadata=metadata
        )

    def _frames(self, start: int, stop: int) -> NDArray[Any]:
        return read_frames(self._slice, start, stop)

    def _slice(self, start: int, stop: int) -> NDArray[Any]:
        with decoding(self.path, start):
            places = [np.unravel_index(frame, self._leading) for frame in range(start, stop)]
            for frame, place in enumerate(places, start):
                self._check_stored(frame, place)
            if len(self._leading) == 1:
                frames: NDArray[Any] = self._array[start:stop]
                return frames
            return np.stack([self._array[place] for place in places])

    def _size_of(self, chunk: str) -> int:
        """Bytes of a chunk; FormatError if it lies outside of the store, by a link to it or to a folder."""
        folder = os.path.dirname(chunk)
        if folder not in self._folders:
            check_place(self.path, folder, self._follow)
            self._folders.add(folder)
        status = os.lstat(chunk)
        if not stat.S_ISREG(status.st_mode):
            check_link(self.path, chunk, self._follow)
            return os.stat(chunk).st_size
        return status.st_size

    def _check_stored(self, frame: int, place: tuple[Any, ...]) -> None:
        """FormatError if parts of a frame are lost, or it is too large for what there is.

        A chunk that is not there stands for the fill value: zarr leaves out those that hold nothing else, as
        of the empty frames of a photon counter. But camnorm writes every chunk, and without a fill value
        every chunk must be there.
        """
        chunks = self._chunks
        ranges = [range(n // size, n // size + 1) for n, size in zip(place, chunks.shape, strict=False)]
        inner = chunks.shape[len(place) :]
        ranges += [range(-(-length // size)) for length, size in zip(self.shape, inner, strict=True)]
        count = math.prod(map(len, ranges))
        if count > _MAX_CHUNKS:
            raise FormatError(self.path, f"damaged: a frame of {count} chunks", frame=frame)
        sizes = []
        for position in product(*ranges):
            with suppress(FileNotFoundError):
                sizes.append(self._size_of(chunks.path(position)))
        if len(sizes) < count and (self._complete or not chunks.filled):
            missing = f"{count - len(sizes)} of its {count} chunks are missing"
            raise FormatError(self.path, f"this frame is not whole in the store: {missing}", frame=frame)
        chunk_bytes = math.prod(chunks.shape) * self.dtype.itemsize
        if sizes and chunk_bytes > EXPANSION * min(sizes):
            reason = f"damaged: {min(sizes)} bytes are too few for a chunk of shape {chunks.shape}"
            raise FormatError(self.path, reason, frame=frame)


class _ChunkFiles:
    """Where the chunks (or shards) of an array lie."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)
        metadata, _ = _node(place)
        prefix, separator = "", metadata.get("dimension_separator", ".")
        self.shape: tuple[int, ...]
        if "chunk_grid" in metadata:
            self.shape = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
            encoding = metadata["chunk_key_encoding"]
            default = encoding["name"] == "default"
            separator = encoding.get("configuration", {}).get("separator", "/" if default else ".")
            prefix = f"c{separator}" if default else ""
        else:
            self.shape = tuple(metadata["chunks"])
        self._prefix, self._separator = prefix, separator
        self.filled = metadata["fill_value"] is not None

    def path(self, position: tuple[int, ...]) -> str:
        """Path of the chunk at a place in the grid of chunks."""
        return f"{self.place}/{self._prefix}{self._separator.join(map(str, position))}"


def _stored_bytes(place: Path, enough: int) -> int:
    """Bytes of an array's files, counted until they are enough."""
    total = 0
    for parent, _, names in os.walk(place):
        for name in names:
            total += os.stat(f"{parent}/{name}").st_size
            if total > enough:
                return total
    return total


def _find(store: Path, options: ReadOptions) -> tuple[Path, dict[str, Any]]:
    """Path of the array of images, and what OME-Zarr says of it, if it does."""
    name = options.dataset
    top = store if name is None else store / name
    check_place(store, top, options.follow_links)
    search = _Search(store)
    if any(_metadata_files(top)):
        search.look_at(top)
        if name is None:
            search.look_for_listed(top)
    found, faults = search.arrays, search.faults
    if not found and not faults:
        raise FormatError(store, "no array in it" if name is None else f"there is no array {name} in it")
    for place in found:
        check_place(store, place, options.follow_links)
    if len(found) == 1 and not faults:
        return next(iter(found.items()))
    candidates = {os.path.relpath(place, store): _candidate(place) for place in found}
    place = store / pick(store, candidates | {key: Candidate(fault=fault) for key, fault in faults.items()})
    return place, found[place]


def _candidate(place: Path) -> Candidate:
    array = _open(place)
    return Candidate.of(array.shape, array.dtype)


class _Search:
    """The arrays in a store, and what may have been one."""

    def __init__(self, store: Path) -> None:
        self.arrays: dict[Path, dict[str, Any]] = {}
        """Of each, what OME-Zarr says of it."""
        self.faults: dict[str, str] = {}
        self._store = store
        self._seen: set[str] = set()

    def look_at(self, place: Path) -> None:
        """Find the arrays in a group, each once; of an image of OME-Zarr only that of full resolution."""
        real = os.path.realpath(place)
        if real in self._seen:
            return
        self._seen.add(real)
        metadata, attributes = _node(place)
        multiscales = attributes.get("ome", attributes).get("multiscales")
        if "shape" in metadata:
            self.arrays[place] = {}
        elif multiscales:
            self.arrays |= {place / image["datasets"][0]["path"]: image for image in multiscales}
        else:
            for child in sorted(place.iterdir()):
                if any(_metadata_files(child)):
                    self.look_at(child)
                elif fault := _fault(child):
                    name = os.path.relpath(child, self._store)
                    self.faults[name] = f"{name} {fault}"

    def look_for_listed(self, top: Path) -> None:
        """Note arrays that the consolidated metadata list but that are not there."""
        images = {place.parent for place, image in self.arrays.items() if image}
        for name in _listed(top):
            if not any(_metadata_files(top / name)) and (top / name).parent not in images:
                self.faults[name] = f"the array {name} is missing"


def _fault(child: Path) -> str:
    """Why what lies in a group, but has no metadata, may have been an array; nothing if it was none."""
    if child.is_symlink() and not child.exists():
        return f"is a link to {os.readlink(child)}, which is missing"
    if child.is_dir() and any(_CHUNK.fullmatch(name) for name in os.listdir(child)):
        return "has chunks, but its metadata (.zarray or zarr.json) are missing"
    return ""


def _listed(top: Path) -> list[str]:
    """Names of the arrays that consolidated metadata list."""
    old, new = top / ".zmetadata", top / "zarr.json"
    if new.is_file():
        nodes = (json.loads(new.read_bytes()).get("consolidated_metadata") or {}).get("metadata", {})
        return [name for name, node in nodes.items() if node.get("node_type") == "array"]
    if old.is_file():
        keys = json.loads(old.read_bytes()).get("metadata", {})
        return [key.removesuffix("/.zarray") for key in keys if key.endswith("/.zarray")]
    return []


def _metadata_files(place: Path) -> list[Path]:
    return [path for name in ("zarr.json", ".zarray", ".zgroup") if (path := place / name).is_file()]


def _node(place: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and attributes of an array or a group."""
    metadata = json.loads(_metadata_files(place)[0].read_bytes())
    if "attributes" in metadata:
        return metadata, metadata["attributes"]
    attributes = place / ".zattrs"
    return metadata, json.loads(attributes.read_bytes()) if attributes.is_file() else {}


def _open(place: Path) -> Any:
    try:
        return zarr.open_array(str(place), mode="r")
    except FileNotFoundError as error:  # or what zarr makes of damaged metadata
        raise FormatError(place, f"no array ({error})") from error


def _pixel_size(image: dict[str, Any], names: list[Any]) -> dict[str, float]:
    """Pixel size in x, if OME-Zarr gives it with a unit."""
    if "x" not in names:
        return {}
    x = names.index("x")
    unit = image["axes"][x].get("unit") if isinstance(image["axes"][x], dict) else None
    transformations = image["datasets"][0].get("coordinateTransformations", ())
    scales = [step["scale"][x] for step in transformations if step.get("type") == "scale"]
    return {"pixel_size": float(scales[0] * _ANGSTROM[unit])} if scales and unit in _ANGSTROM else {}
