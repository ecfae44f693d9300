"""Fixtures of the tests of journals."""

from pathlib import Path

import pytest

from sunshine_async.errors import ConfigurationError
from sunshine_async.journal import Place, place_of


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, path: Path) -> Place:
    """Return a place for a journal: a file, then a job in PostgreSQL."""
    is_file = request.param == "sqlite"
    place = place_of(path if is_file else request.getfixturevalue("journal_url"))
    assert not isinstance(place, ConfigurationError)
    return place
