"""What all tests share: the fixtures that users get, and settings for hypothesis."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from support.size import set_size, small_selection

pytest_plugins = ["sunshine_async.testing"]

for name, examples in (("full", 100), ("small", 15)):
    settings.register_profile(
        name,
        deadline=None,
        derandomize=True,
        max_examples=examples,
        suppress_health_check=[HealthCheck.too_slow],  # a busy machine breaks no promise
    )


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--size``."""
    parser.addoption("--size", choices=("small", "full"), default="small", help="small: quick")


def pytest_configure(config: pytest.Config) -> None:
    """Set the size before a test module is imported: cases are chosen there."""
    size = config.getoption("--size")
    set_size(size)
    settings.load_profile(size)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep a few cases of each test in a small run."""
    if config.getoption("--size") == "small":
        items[:], others = small_selection(items)
        config.hook.pytest_deselected(items=others)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal of a test is."""
    return tmp_path / "run.sqlite"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the users of a test are."""
    return tmp_path / "users.jsonl"
