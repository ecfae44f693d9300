"""What users' checkers see is what ``typing/api.py`` says, for mypy and for pyright."""

import inspect
import re
import tomllib
from pathlib import Path

import pytest

from sunshine_async.sunshine import Conversations, Messages, Users

HERE = Path(__file__).parents[1]
API = (HERE / "typing" / "api.py").read_text(encoding="utf-8")
BOTS = (HERE / "typing" / "sunshine.py").read_text(encoding="utf-8")
TOOLS = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"]


def test_both_checkers_read_it_strictly() -> None:
    """Mypy and pyright check the package and this file, strictly, each with ignores of its own."""
    mypy, pyright = TOOLS["mypy"], TOOLS["pyright"]

    assert mypy["files"] == pyright["include"] == ["sunshine_async", "tests/typing"]
    assert mypy["strict"] is True
    assert pyright["typeCheckingMode"] == "strict"
    assert pyright["enableTypeIgnoreComments"] is False
    assert "reportUnnecessaryTypeIgnoreComment=true" in API


def test_a_mistake_is_expected_of_both_checkers() -> None:
    """Each line that has to be reported has to be by both, and says as what."""
    lines = [line for line in API.splitlines() if "ignore[" in line]

    assert len(lines) > 30
    assert all(
        re.search(r"  # type: ignore\[[\w, -]+\]  # pyright: ignore\[[\w, ]+\]", line)
        for line in lines
    )


@pytest.mark.parametrize(
    "name", [name for name, _ in inspect.getmembers(Users, inspect.isfunction) if name[0] != "_"]
)
def test_each_method_is_called(name: str) -> None:
    """Each public method of the users is called, and what it gives is looked at."""
    assert f"client.users.{name}(" in API


@pytest.mark.parametrize("resource", [Conversations, Messages], ids=lambda one: one.__name__)
def test_each_method_of_a_bot_is_called(resource: type) -> None:
    """Each public method of messages and conversations is called."""
    names = [name for name, _ in inspect.getmembers(resource, inspect.isfunction) if name[0] != "_"]

    assert [name for name in names if f"{resource.__name__.lower()}.{name}(" not in BOTS] == []
