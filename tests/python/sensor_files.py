"""Sensor files as the documentation describes them, by h5py and numpy alone."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np

__all__ = ["digests_of", "make_old"]


def digests_of(path: Path) -> dict[str, str]:
    """The digests of a file."""
    found = {}

    def add(name: str, value: Any, text: bool) -> None:
        if text:
            texts = [value] if isinstance(value, (str, bytes)) else list(value)
            data = [t if isinstance(t, bytes) else t.encode(errors="surrogateescape") for t in texts]
            content = f"text {len(data)}\n".encode() + b"".join(t + b"\0" for t in data)
        else:
            array = np.asarray(value)
            data = array.tobytes()
            content = f"{array.dtype.str} {array.shape}\n".encode()
            for start in range(0, len(data), 2**22):
                content += zlib.crc32(data[start : start + 2**22]).to_bytes(4, "little")
        found[name] = hashlib.blake2b(content, digest_size=32).hexdigest()

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            add(
                item.name,
                item[()],
                h5py.check_string_dtype(item.dtype) is not None and item.dtype.kind == "O",
            )
        for key, value in item.attrs.items():
            if (name, key) != ("/", "digest"):
                add(f"{item.name}@{key}", value, isinstance(value, str))

    with h5py.File(path) as f:
        visit("/", f)
        f.visititems(visit)
    return found


def make_old(path: Path) -> None:
    """Make a file of schema 1 from a new one: integer sums have 64 bits."""
    with h5py.File(path, "r+") as f:
        f.attrs["schema"] = 1
        for group in (f[kind][half] for kind in ("halves", "responses") if kind in f for half in "AB"):
            for name, dataset in list(group.items()):
                values = dataset[()]
                if values.dtype.kind in "iu":
                    del group[name]
                    group[name] = values.astype(np.uint64 if name == "sum_of_squares" else np.int64)
    lines = "".join(f"{digest}  {name}\n" for name, digest in digests_of(path).items())
    with h5py.File(path, "r+") as f:
        whole = hashlib.blake2b(lines.encode(), digest_size=32).hexdigest()
        f.attrs["digest"] = f"{lines}{whole}  all lines above\n"
