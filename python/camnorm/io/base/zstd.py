"""The zstd library that comes with imagecodecs, for the core."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from ctypes.util import find_library
from functools import cache
from pathlib import Path

import imagecodecs

from camnorm import _core

_NAMES = ("ZSTD_createDCtx", "ZSTD_freeDCtx", "ZSTD_isError", "ZSTD_decompressDCtx")


@cache
def has_zstd() -> bool:
    """Whether the core can decode zstd: it then does so without a call of Python for each strip.

    Wheels of imagecodecs have the library beside them, as auditwheel or delocate put it; conda and Linux
    distributions have one for all programs.
    """
    package = Path(imagecodecs.__file__).parent
    bundled = [*package.parent.glob("imagecodecs.libs/libzstd*"), *package.glob(".dylibs/libzstd*")]
    for library in (*map(str, bundled), find_library("zstd")):
        if library is None:
            continue
        with suppress(OSError, AttributeError):  # not for this machine; without one of the functions
            functions = [getattr(ctypes.CDLL(library), name) for name in _NAMES]
            _core.use_zstd(*(ctypes.cast(function, ctypes.c_void_p).value or 0 for function in functions))
            return True
    return False
