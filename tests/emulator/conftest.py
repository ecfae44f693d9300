"""Fixtures of the emulator's tests."""

from collections.abc import AsyncIterator

import httpx
import pytest
from support.in_process import calling

from sunshine_async.emulator import Emulator


@pytest.fixture
async def app(emulator: Emulator) -> AsyncIterator[httpx.AsyncClient]:
    """Call one app of the emulator, in process."""
    async with calling(emulator) as client:
        yield client
