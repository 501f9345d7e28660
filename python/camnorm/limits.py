"""What the system lets this process use: file descriptors, and address space for threads."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress

from camnorm import _core
from camnorm.errors import ResourceError

# Descriptors that one open file of images takes at most: a manifest, its movie, the handle of a library, and
# a file behind a link, which is opened twice as well.
PER_FILE = 5

# Descriptors that are enough for any run.
_WANTED = 2**16

# Descriptors for what is open for a moment: the result and its folder, modules that are imported, pipes.
_RESERVED = 16

# Where the system does not say what is open.
_PROBABLY_OPEN = 32

# Address space that a thread takes: the stacks of a thread of Python and of one of the core, and the C
# library's heap for it. The other half of what there is, is for images.
_BYTES_PER_THREAD = 2 * 8 * 2**20 + 64 * 2**20


def descriptors_left() -> int:
    """Number of files that this process may still open, without those reserved for what is open briefly."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    try:
        opened = len(os.listdir("/dev/fd"))
    except FileNotFoundError:
        opened = _PROBABLY_OPEN
    return max(0, limit - opened - _RESERVED)


def raise_descriptor_limit() -> None:
    """Have this process open as many files as it may: the limit that it starts with can be raised."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if most == resource.RLIM_INFINITY else min(most, _WANTED)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        with suppress(ValueError, OSError):  # of systems with one more limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def at_once(most: int, descriptors: int, *, least: int = 1, held: int = 0) -> int:
    """Tell how many things that take descriptors may be open at a time.

    Parameters
    ----------
    most : int
        Number that is wanted.
    descriptors : int
        Descriptors that each takes, at most.
    least : int
        Number that is needed.
    held : int
        Descriptors that others will take meanwhile.

    Returns
    -------
    int
        Between `least` and `most`.

    Raises
    ------
    ResourceError
        Not even `least` can be open.
    """
    left = descriptors_left() - held
    if left < least * descriptors:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        raise ResourceError(
            f"the limit of {limit} open files is too low (ulimit -n): "
            f"{least * descriptors - left} more are needed"
        )
    return min(most, left // descriptors)


def usable_threads(threads: int | None) -> int:
    """Tell how many threads to use: fewer than asked for if the address space is limited (ulimit -v).

    Parameters
    ----------
    threads : int, optional
        Number that is wanted; by default CAMNORM_THREADS, or all the cores this process may run on.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ValueError
        `threads` is less than 1.
    """
    wanted: int = _core.resolve_threads(threads)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return wanted
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
    except FileNotFoundError:  # a system without /proc
        return wanted
    return max(1, min(wanted, (limit - used) // 2 // _BYTES_PER_THREAD))
