"""Fixtures of the command line's tests: one emulator on a socket for all tests of a file."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.testing
from support.commands import Call, caller, settings

from sunshine_async.emulator import Emulator

typer.testing._get_command = cache(typer.testing._get_command)  # else 15 ms for each command


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Emulator, str]]:
    """Serve an emulator; give it and its URL."""
    emulator = Emulator()
    with emulator.serve() as base_url:
        yield emulator, base_url


@pytest.fixture
def emulator(served: tuple[Emulator, str]) -> Emulator:
    """Return the emulator, without data."""
    emulator, _ = served
    emulator.reset()
    return emulator


@pytest.fixture
def emulator_url(served: tuple[Emulator, str], emulator: Emulator) -> str:
    """Return the URL of the emulator, which is without data."""
    _, base_url = served
    return base_url


@pytest.fixture
def env(emulator_url: str) -> dict[str, str]:
    """Return the variables of a command for Sunshine."""
    return settings(emulator_url)


@pytest.fixture
def call(env: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Return the function that runs a command in the test's folder, against the emulator."""
    monkeypatch.chdir(tmp_path)
    return caller(env)
