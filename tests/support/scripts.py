"""Scripts of faults for property tests: the fate of each request of a call."""

from typing import Final

import httpx
from hypothesis import strategies as st

from sunshine_async.emulator import Mishap

FATES: Final = (
    None,
    *(Mishap(status=status) for status in (429, 400, 409, 404)),
    Mishap(status=500, when="before"),
    Mishap(status=503, when="after"),
    Mishap(reset=True, when="before"),
    Mishap(reset=True, when="after"),
    Mishap(cut=True),
    Mishap(garbled=True),
    httpx.ConnectError("refused"),
    httpx.ReadTimeout("late"),
)
"""Fates of a request: None is a usual answer."""


def scripts(*without: int) -> st.SearchStrategy[list[Mishap | httpx.TransportError | None]]:
    """Return a strategy for the fates of a call's requests, in order; no status of *without*."""
    fates = [fate for fate in FATES if not isinstance(fate, Mishap) or fate.status not in without]
    return st.lists(st.sampled_from(fates), max_size=7)
