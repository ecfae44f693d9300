"""What all tests share: the fixtures that users get, and settings for hypothesis."""

import gc
import os
import sys
import traceback
from collections.abc import Generator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from support.forking import INSTANT, Command, forking
from support.postgres import PostgresServer, postgres_server
from support.size import CASES, set_size, sized, some

import sunshine_async
from sunshine_async._calls import transport
from sunshine_async._pace.waiting import CLOCK
from sunshine_async.errors import SunshineError

PACKAGE = Path(sunshine_async.__file__).parent

JOBS = count()
"""Numbers of journals in a database."""

pytest_plugins = ["sunshine_async.testing"]

for name, examples in (("full", 100), ("small", 8)):
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
    # else each worker, and each start of the command line, would compile all modules again
    sys.dont_write_bytecode = False
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    gc.disable()  # until the tests are collected: all that is made until then stays


def pytest_report_header() -> str:
    """Tell what a small run leaves out."""
    return sized(
        "full size", "small size: fewer cases, and no slow tests; pytest --size=full runs all"
    )


@pytest.hookimpl(wrapper=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Generator[None]:
    """Make a few cases of each test in a small run, unless the run names a case."""
    yield
    if not any("[" in argument for argument in metafunc.config.args):
        costly = metafunc.definition.get_closest_marker("costly")
        metafunc._calls[:] = some(metafunc._calls, at_most=1 if costly else CASES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests of a small run that names no test, and begin with those that wait.

    One worker begins with the tests that wait or fork, another with those of PostgreSQL.
    The tests that wait for long need little of a core. What is started for the session is started
    in few workers.
    """
    chosen = config.option.markexpr or config.option.keyword
    if not chosen and not any(".py" in argument for argument in config.args):
        items[:] = [
            item for item in items if sized(full=True, small=not item.get_closest_marker("slow"))
        ]
    items.sort(key=lambda item: (not item.get_closest_marker("waits"), not uses(item, "python")))
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    chunk = len(items) // workers
    databases = [item for item in items[chunk:] if uses(item, "postgres")]
    others = [item for item in items[chunk:] if not uses(item, "postgres")]
    items[chunk:] = [*databases, *others]


def uses(item: pytest.Item, name: str) -> bool:
    """Return whether the fixture *name* is one of the test's, or the test's name tells so."""
    return name in item.nodeid or name in getattr(item, "fixturenames", ())


def pytest_collection_finish() -> None:
    """Spare the garbage collector the modules and the tests, and seldom run it in a small run."""
    gc.freeze()
    gc.set_threshold(sized(gc.get_threshold()[0], 50_000))
    gc.enable()


@pytest.fixture
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the library's clock stand still: a busy machine takes no time of a test."""
    began = CLOCK.now()
    monkeypatch.setattr(CLOCK, "now", lambda: began)


@pytest.fixture
def instant_waits(still_clock: None, instant_waits: None) -> None:
    """Make waits of the library instant, as for users; its clock moves by these waits only."""


@pytest.fixture(scope="session")
def python() -> Generator[str]:
    """Return an interpreter for programs that is quick to start: a program runs in a fork."""
    with forking() as launcher:
        yield launcher


@pytest.fixture
def forked(python: str) -> Command:
    """Return the command line that is quick to start: in a fork."""
    return (python, "-m", "sunshine_async")


@pytest.fixture
def quick_starts(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a small run start programs in forks, by ``sys.executable``."""
    if sized(full=False, small=True):
        monkeypatch.setattr(sys, "executable", python)


@pytest.fixture
def instant_starts(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs start in forks, by ``sys.executable``, and the waits of the library be instant."""
    monkeypatch.setattr(sys, "executable", python)
    monkeypatch.setenv(INSTANT, "1")


@pytest.fixture(scope="session")
def postgres() -> Generator[PostgresServer]:
    """Return a PostgreSQL server, started for the first test that needs one."""
    with postgres_server() as server:
        yield server


def _new_database(postgres: PostgresServer) -> Generator[str]:
    """Return the address of a new database in PostgreSQL."""
    with postgres.database() as address:
        yield address


database = pytest.fixture(_new_database)
shared_database = pytest.fixture(scope="session")(_new_database)
"""A database for the journals of many tests."""


@pytest.fixture
def journal_url(postgres: PostgresServer, shared_database: str) -> str:
    """Return the URL of a new journal in PostgreSQL; the server runs, whatever a test has left."""
    postgres.start()
    return f"{shared_database}?job=job_{next(JOBS)}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal of a test is."""
    return tmp_path / "run.sqlite"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where the users of a test are."""
    return tmp_path / "users.jsonl"


@pytest.fixture(autouse=True)
def no_hidden_mistakes(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Fail a test in which a mistake in the library's code became the outcome of a call."""
    mistakes: list[SunshineError] = []
    turn_into_ours = transport._unexpected_error

    def watched(error: Exception, *rest: Any) -> SunshineError:
        made = turn_into_ours(error, *rest)
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        place = Path(frame.f_code.co_filename)
        if PACKAGE in place.parents and place.name != "testing.py":  # which raises a test's errors
            mistakes.append(made)
        return made

    monkeypatch.setattr(transport, "_unexpected_error", watched)
    yield
    assert not mistakes
