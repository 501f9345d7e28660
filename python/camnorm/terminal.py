"""Text for a terminal."""

from __future__ import annotations

import re

__all__ = ["printable"]

# Control characters, which a terminal obeys; other ends of lines; what reverses the direction of text; halves
# of characters, which stand for bytes of file names that are not text.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Write characters that would do something to a terminal as Python writes them: ``\x1b``, ``\n``.

    File names, and texts that files hold, may have any.
    """
    return _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)
