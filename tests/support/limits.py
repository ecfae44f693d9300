"""Limits of this process that the system sets."""

import gc
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def limited(kind: int, most: int) -> Iterator[None]:
    """Set the limit of a *kind*, such as ``resource.RLIMIT_NOFILE``, to *most* for the block."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """Let the block open so many *more* descriptors."""
    free = [os.open(os.devnull, os.O_RDONLY) for _ in range(more + 1)]
    for descriptor in free:
        os.close(descriptor)
    with limited(resource.RLIMIT_NOFILE, free[-1]):
        yield
    gc.collect()  # now, and not within another test: asyncio can't free half an event loop
