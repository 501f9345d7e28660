"""Headers of text, as in EDF and SMV files: ``key = value;``."""

from __future__ import annotations

import re
from typing import Any

from camnorm.errors import FormatError
from camnorm.io.base.source import MappedFile, shown


def items_of(text: bytes) -> dict[str, str]:
    """Values of ``key = value;``, by the keys in lower case."""
    header: dict[str, str] = {}
    for item in text.decode("latin-1").split(";"):
        key, equal, value = item.partition("=")
        if equal:
            header[key.strip("\0 \t\r\n").lower()] = value.strip("\0 \t\r\n")
    return header


def integer_of(file: MappedFile, header: dict[str, str], key: str, default: int | None = None) -> int:
    value = header.get(key)
    if value is None and default is not None:
        return default
    if value is None or not re.fullmatch(r"\d{1,15}", value):
        raise FormatError(file.path, f"damaged header: {key.upper()} = {shown(value)}")
    return int(value)


def pixel_size_of(header: dict[str, str], key: str, angstrom: float) -> dict[str, Any]:
    form = re.match(r"\d*\.?\d+(e[-+]?\d{1,2})?", header.get(key, ""), re.IGNORECASE)
    return {"pixel_size": float(form[0]) * angstrom} if form and float(form[0]) > 0 else {}
