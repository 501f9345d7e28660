"""Which dataset of an HDF5 file holds the frames: the one named, that of NeXus, or the only large one."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py

from camnorm.errors import FormatError, raise_shortage
from camnorm.io.base.containers import is_images, pick
from camnorm.io.base.hdf5guard import NoSuchNameError, open_object, text_of
from camnorm.io.base.options import ReadOptions

_OURS = "camnorm "  # sensor files and checkpoints
_VELOX = re.compile("/?Data/Image/[^/]+/Data")
_MAX_DEFAULTS = 16  # of a chain of @default


def find_dataset(path: Path, h5: h5py.File, options: ReadOptions) -> h5py.Dataset:
    """The dataset of images."""
    name, follow = options.dataset, options.follow_links
    if kind := own_kind(path, h5):
        raise FormatError(path, f"a {kind} file, which holds no images")
    dataset = _default(path, h5, follow) if name is None else _named(path, h5, name, follow)
    if isinstance(dataset, h5py.Group):
        datasets, signals, fault = _images(path, dataset, follow)
        if not datasets and fault:
            raise FormatError(path, f"no images in it: {fault}")
        candidates = signals or datasets
        dataset = candidates[pick(path, {key: (d.shape, d.dtype) for key, d in candidates.items()})]
    if _VELOX.fullmatch(dataset.name):
        raise FormatError(path, "Velox EMD, whose frames lie along the last axis, is not supported")
    return dataset


def own_kind(path: Path, h5: h5py.File) -> str | None:
    """What a file is that is one of camnorm's own: a sensor file, a checkpoint; None of others."""
    kind = text_of(path, h5, "format")
    return kind if kind.startswith(_OURS) else None


def _named(path: Path, h5: h5py.File, name: str, follow: bool) -> h5py.Dataset | h5py.Group:
    try:
        found = _follow(path, h5, name, follow)
    except NoSuchNameError:
        raise FormatError(path, f"there is no {name} in it") from None
    if isinstance(found, h5py.Dataset) and not is_images(found.shape or (), found.dtype):
        reason = f"{found.name} of shape {found.shape} and type {found.dtype} holds no images"
        raise FormatError(path, reason)
    return found


def _default(path: Path, h5: h5py.File, follow: bool) -> h5py.Dataset | h5py.Group:
    """Where the defaults of a NeXus file lead: a dataset, or the file if they lead to none."""
    group = h5
    for _ in range(_MAX_DEFAULTS):
        for attribute in ("signal", "default"):
            name = text_of(path, group, attribute)
            found = None
            with suppress(NoSuchNameError):
                found = _follow(path, group, name, follow) if name else None
            if found is not None:
                break
        if isinstance(found, h5py.Dataset) and is_images(found.shape or (), found.dtype):
            return found
        if not isinstance(found, h5py.Group):
            break
        group = found
    return h5


def _follow(path: Path, group: h5py.Group, name: str, follow: bool) -> Any:
    try:
        return open_object(path, group, name, follow)
    except NoSuchNameError:
        raise
    except KeyError as error:
        raise_shortage(error)
        raise FormatError(path, _fault(group, name, error)) from None


def _fault(group: h5py.Group, name: str, error: Exception) -> str:
    """Why what has this name cannot be opened."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        return f"{name} is in the file {link.filename}, which is missing or damaged"
    return f"{name} cannot be opened ({error})"


def _images(
    path: Path, top: h5py.Group, follow: bool
) -> tuple[dict[str, h5py.Dataset], dict[str, h5py.Dataset], str]:
    """All datasets that can be read as frames, those that NeXus calls signals, and what cannot be opened."""
    datasets, signals, fault = {}, {}, ""
    seen = set()
    groups = [top]
    while groups:
        group = groups.pop()
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.SoftLink):  # what it points to is found where it is
                continue
            try:
                found = open_object(path, group, name, follow)
                information = h5py.h5o.get_info(found.id)
                key = information.fileno, information.addr
                if key in seen:
                    continue
                seen.add(key)
                if isinstance(found, h5py.Group):
                    groups.append(found)
                elif isinstance(found, h5py.Dataset) and is_images(found.shape or (), found.dtype):
                    place = f"{group.name.rstrip('/')}/{name}"
                    datasets[place] = found
                    if text_of(path, group, "signal") == name or "signal" in found.attrs:
                        signals[place] = found
            except FormatError as error:
                fault = error.reason
            except Exception as error:  # damage drives h5py into nearly any exception
                raise_shortage(error)
                fault = _fault(group, name, error)
    return datasets, signals, fault
