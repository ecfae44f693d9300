"""Every local variable that an error reporter could attach to an exception."""

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any, Final

TESTS: Final = str(Path(__file__).parents[1])


def chain(error: BaseException) -> list[BaseException]:
    """Return *error* and all that it leads to: causes, contexts, and members of groups."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or any(one is other for other in found):
            continue
        found.append(one)
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions
    return found


def frames(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames of the whole chain of *error*, but for those of the tests themselves."""
    for one in chain(error):
        for frame, _ in walk_tb(one.__traceback__):
            if not frame.f_code.co_filename.startswith(TESTS):
                yield frame


def shown(value: Any, depth: int = 4) -> Iterator[str]:
    """Yield how *value* is shown, and what is in it, as far as reporters look."""
    yield repr(value)
    if depth and isinstance(value, Mapping):
        for pair in list(value.items()):
            yield from shown(pair, depth - 1)
    elif depth and isinstance(value, list | tuple | AbstractSet):
        for item in list(value):
            yield from shown(item, depth - 1)


def leaks(error: BaseException, *secrets: str) -> list[str]:
    """Return where a local variable, or the chain of *error* itself, shows one of *secrets*."""
    found = [
        f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}: {name}"
        for frame in frames(error)
        for name, value in frame.f_locals.items()
        if any(secret in text for text in shown(value) for secret in secrets)
    ]
    kept = [(one, {**one.__dict__, "body": None}) for one in chain(error)]
    said = [f"{one!r} {one} {attributes}" for one, attributes in kept]
    return found + [text for text in said if any(secret in text for secret in secrets)]
