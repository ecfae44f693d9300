"""What all tests share: the fixtures that users get, and settings for hypothesis."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["sunshine_async.testing"]

settings.register_profile(
    "promises",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],  # a busy machine breaks no promise
)
settings.load_profile("promises")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal of a test is."""
    return tmp_path / "run.sqlite"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the users of a test are."""
    return tmp_path / "users.jsonl"
