"""Async tests that run on asyncio and on trio."""

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any

import anyio
import pytest
from support.virtual import virtually

Test = Callable[..., Awaitable[None]]
Work = Callable[[], Awaitable[None]]

_BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def _run(work: Work, backend: str) -> None:
    anyio.run(work, backend=backend)


def on_backend(test: Test, run: Callable[[Work, str], None] = _run) -> Callable[..., None]:
    """Run an async *test* on the backend that the fixture or parameter ``backend`` gives."""

    @wraps(test)
    def on_that(*arguments: Any, backend: str, **options: Any) -> None:
        run(lambda: test(*arguments, **options), backend)

    given = signature(test)
    backend = Parameter("backend", Parameter.KEYWORD_ONLY)
    on_that.__signature__ = given.replace(parameters=[*given.parameters.values(), backend])
    return on_that


def on_both(test: Test) -> Callable[..., None]:
    """Run an async *test* on asyncio and on trio."""
    return _BOTH(on_backend(test))


def virtual_on_both(test: Test) -> Callable[..., None]:
    """Run an async *test* on asyncio and on trio, in time that jumps."""
    return _BOTH(on_backend(test, virtually))
