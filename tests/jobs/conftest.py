"""Fixtures of the tests of jobs."""

from collections.abc import AsyncIterator

import pytest
from support.clients import sunshine

from sunshine_async import SunshineClient
from sunshine_async.emulator import Emulator


@pytest.fixture
async def client(
    request: pytest.FixtureRequest, emulator: Emulator
) -> AsyncIterator[SunshineClient]:
    """Give a client of the emulator, as the test's module makes clients, if it has a way."""
    client_on = getattr(request.module, "client_on", sunshine)
    async with client_on(emulator.transport()) as client:
        yield client
