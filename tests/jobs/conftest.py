"""Fixtures of the tests of jobs."""

from collections.abc import AsyncIterator

import pytest
from support.clients import sunshine
from support.clusters import PAUSE
from support.patience import PATIENCE

from sunshine_async import SunshineClient
from sunshine_async.emulator import Emulator
from sunshine_async.jobs import job
from sunshine_async.jobs.cluster import Cluster, open_cluster
from sunshine_async.journal.postgres_database import PostgresPlace, parse_place


@pytest.fixture
async def client(
    request: pytest.FixtureRequest, emulator: Emulator
) -> AsyncIterator[SunshineClient]:
    """Give a client of the emulator, as the test's module makes clients, if it has a way."""
    client_on = getattr(request.module, "client_on", sunshine)
    async with client_on(emulator.transport()) as client:
        yield client


@pytest.fixture
def full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a batch be full before it is sent, however long a busy machine reads the rows."""
    monkeypatch.setattr(job, "_LINGER", PATIENCE)


@pytest.fixture
def place(database: str) -> PostgresPlace:
    """Return the place of imports in a new database, where leases are short."""
    place = parse_place(f"{database}?lease=1")
    assert isinstance(place, PostgresPlace)
    return place


@pytest.fixture
async def cluster(place: PostgresPlace) -> AsyncIterator[Cluster]:
    """Give the cluster in a new database."""
    async with open_cluster(place) as cluster:
        cluster.pause = PAUSE
        yield cluster
