"""Places of journals: paths, URLs of PostgreSQL, and URLs that are refused without the password."""

import sys
from pathlib import Path
from typing import Any

import pytest
from support.frames import leaks

from sunshine_async import BasicAuth, ConfigurationError, SunshineClient, jobs
from sunshine_async.journal import place_of
from sunshine_async.journal.postgres_database import PostgresPlace

HOST = "postgresql://u:pass-word@h:5432/imports"
WRONG = {
    f"{HOST}?job=": "the job in the URL must be 1 to 40 characters of a-z, 0-9 and _",
    f"{HOST}?job=May": "the job in the URL must be",
    f"{HOST}?job=a;b": "the job in the URL must be",
    f"{HOST}?job={'x' * 41}": "the job in the URL must be",
    f"{HOST}?lease=0.5": "the lease in the URL must be 1 to 120 seconds",
    f"{HOST}?lease=nan": "the lease in the URL must be",
    f"{HOST}?lease=long": "the lease in the URL must be",
    f"{HOST}?password=pass-word&x=1": "give an address such as",
    "postgresql://u:1@pass-word@h/db": "give an address such as",
    "postgres://u:pass-word/1@h/db": "give an address such as",
    "postgresql:u:pass-word": "give an address such as",
    "postgresql+psycopg://u:pass-word@h/db": "a URL that begins with postgresql://",
    "PostgreSQL://u:pass-word@h/db": "a URL that begins with postgresql://",
    "mysql:/u:pass-word@h/db": "a URL that begins with postgresql://",
}


@pytest.mark.parametrize(
    ("url", "name", "schema", "lease"),
    [
        (HOST, "postgresql://u@h:5432/imports", "sunshine_journal", 10.0),
        (
            f"{HOST}?job=may_1&sslmode=require&lease=30",
            "postgresql://u@h:5432/imports?sslmode=require&job=may_1&lease=30",
            "sunshine_journal_may_1", 30.0,
        ),
        (
            "postgres://h/db?password=pass-word&sslpassword=pass-word&job=a",
            "postgresql://h/db?job=a", "sunshine_journal_a", 10.0,
        ),
        ("postgresql://[::1]:1/d%20b", "postgresql://[::1]:1/d%20b", "sunshine_journal", 10.0),
        ("postgresql://%2Fvar%2Frun/db", "postgresql://%2Fvar%2Frun/db", "sunshine_journal", 10.0),
        ("postgresql:///db", "postgresql:///db", "sunshine_journal", 10.0),
    ],
)  # fmt: skip
def test_a_url(url: str, name: str, schema: str, lease: float) -> None:
    """A URL names the database, the job and the lease; as a text the URL lacks the password."""
    place = place_of(url)

    assert isinstance(place, PostgresPlace)
    assert (str(place), place.schema, place.lease) == (name, schema, lease)
    assert "pass-word" not in repr(place)
    assert str(place_of(str(place))) == name


@pytest.mark.parametrize(
    "name", ["run.sqlite", Path("run.sqlite"), "", ":memory:", "postgres", "C:/a"]
)
def test_a_path(name: str | Path) -> None:
    """Any other text is a path, as given."""
    assert place_of(name) == name


@pytest.mark.parametrize("url", WRONG)
def test_a_wrong_url(url: str) -> None:
    """A URL that can't be used is refused before anything is sent; no text and no frame has the password."""
    client = SunshineClient("app", auth=BasicAuth("id", "secret"))
    with pytest.raises(ConfigurationError) as caught:
        jobs.open(url, client, jobs.SUNSHINE, jobs.Mode.CREATE)

    assert WRONG[url] in str(caught.value)
    assert leaks(caught.value, "pass-word") == []


@pytest.mark.parametrize("name", [None, 7, b"run.sqlite"], ids=repr)
def test_a_path_of_another_type(name: Any) -> None:
    """A path that isn't text, such as a variable that isn't set, is an error that says so."""
    error = place_of(name)
    assert str(error) == f"journal: a path must be text, not {type(name).__name__}"


def test_psycopg_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without psycopg a journal in PostgreSQL is a `ConfigurationError` with the command to run."""
    monkeypatch.setitem(sys.modules, "sunshine_async.journal.postgres_database", None)
    problem = place_of(HOST)

    assert isinstance(problem, ConfigurationError)
    assert "pip install 'sunshine-async[postgres]'" in str(problem)
