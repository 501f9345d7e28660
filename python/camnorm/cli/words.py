"""The words of a command before they are parsed."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["complete_words"]


def complete_words(words: Sequence[str]) -> list[str]:
    """Give --keep-illumination its value, auto, where it has none: an option, an input or nothing follows."""
    end = words.index("--") if "--" in words else len(words)
    done = list(words)
    for place, word in enumerate(words[:end]):
        if word == "--keep-illumination" and not _is_value(*words[place + 1 : end][:1]):
            done[place] += "=auto"
    return done


def _is_value(word: str = "-") -> bool:
    """Whether the word after --keep-illumination, if there is one, belongs to it."""
    with suppress(ValueError):
        float(word)
        return True
    return not (word.startswith(("-", "@")) or re.search(r"[*?\[]", word) or os.path.lexists(word))
