"""Writing Zarr stores. They are files of metadata and one for each frame: the library zarr is not needed."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from camnorm.io.base.source import FrameSource
from camnorm.io.base.writers import FrameWriter, WritePlan, write_at

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _gzip(frame: NDArray[Any]) -> bytes:
    encoder = zlib.compressobj(1, wbits=31)
    return encoder.compress(frame.data) + encoder.flush()


# Name of each codec, and what does it: as fast as it can.
_CODECS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "deflate": ("gzip", _gzip),
    "zstd": ("zstd", partial(imagecodecs.zstd_encode, level=1)),
}


class ZarrWriter(FrameWriter):
    """A Zarr store of one array, ``0``, with a chunk for each frame, as OME-Zarr has it.

    Of version 3 if it is made from a store of version 3, else of version 2, which more programs read.
    """

    def __init__(self, plan: WritePlan) -> None:
        super().__init__(plan)
        codec: str | None = None
        self._encode: Callable[[Any], Any] | None = None
        if plan.compression != "none":
            codec, self._encode = _CODECS[plan.compression]
        self.whole_frames = codec is not None
        self._stored = plan.dtype.newbyteorder("<")
        self._store = plan.target.temporary
        version3 = plan.source.format == "Zarr" and (plan.source.path / "zarr.json").is_file()
        images = {} if len(plan.source.shape) == 3 else {"multiscales": [_image(plan.source, version3)]}
        attributes = {"label": plan.label, "source": os.fspath(plan.source.path)}
        write = self._write_version3 if version3 else self._write_version2
        write(codec, [plan.count, *self.shape], images, attributes)

    def _write_version2(
        self, codec: str | None, shape: list[int], images: dict[str, Any], attributes: dict[str, Any]
    ) -> None:
        array = {
            "zarr_format": 2,
            "shape": shape,
            "chunks": [1, *shape[1:]],
            "dtype": self._stored.str,
            "compressor": None if codec is None else {"id": codec, "level": 1},
            "fill_value": None,
            "order": "C",
            "filters": None,
            "dimension_separator": ".",
        }
        self._prefix = "0/"
        self._write_json(".zgroup", {"zarr_format": 2})
        self._write_json(".zattrs", images)
        self._write_json("0/.zarray", array)
        self._write_json("0/.zattrs", attributes)

    def _write_version3(
        self, codec: str | None, shape: list[int], images: dict[str, Any], attributes: dict[str, Any]
    ) -> None:
        codecs: list[dict[str, Any]] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        if codec is not None:
            checksum = {"checksum": False} if codec == "zstd" else {}
            codecs.append({"name": codec, "configuration": {"level": 1} | checksum})
        array = {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": self._stored.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, *shape[1:]]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": 0,
            "codecs": codecs,
            "attributes": attributes,
        }
        group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": images | {"version": "0.5"}}}
        self._prefix = "0/c."
        self._write_json("zarr.json", group)
        self._write_json("0/zarr.json", array)

    def _write_json(self, name: str, values: dict[str, Any]) -> None:
        path = self._store / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(values, indent=1))

    def _write(self, frames: NDArray[Any], start: int, row: int) -> None:
        offset = row * frames[0, :1].nbytes
        for index, frame in enumerate(frames.astype(self._stored, copy=False), start):
            encoded = frame if self._encode is None else np.frombuffer(self._encode(frame), np.uint8)
            name = ".".join(map(str, (index, *[0] * len(self.shape))))
            file = os.open(self._store / f"{self._prefix}{name}", os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                write_at(file, offset, encoded)
            finally:
                os.close(file)

    def _complete(self) -> None:
        for path in (*self._store.rglob("*"), self._store):
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)

    def _close(self) -> None:
        """Nothing is open."""


def _image(source: FrameSource, version3: bool) -> dict[str, Any]:
    """What OME-Zarr says of an image, 0.4 or 0.5: its axes and pixel size."""
    unit = {"unit": "angstrom"} if "pixel_size" in source.metadata else {}
    pixel_size = float(source.metadata.get("pixel_size", 1))
    space = [{"name": name, "type": "space"} | unit for name in "yx"]
    scale = {"type": "scale", "scale": [1.0, pixel_size, pixel_size]}
    return {
        "axes": [{"name": "t", "type": "time"}, *space],
        "datasets": [{"path": "0", "coordinateTransformations": [scale]}],
    } | ({} if version3 else {"version": "0.4"})
