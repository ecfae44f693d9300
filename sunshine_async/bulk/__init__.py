"""Run a coroutine function over many items: bounded concurrency, an outcome for each item.

`run` starts workers. Each takes an item, calls the function, and delivers the outcome to a stream,
`Outcomes`. An outcome is `Done`, `Failed` (not applied) or `Unknown` (may have been applied).
`collect` returns a list for few items. Memory stays flat for any number of items.

::

    import asyncio

    from sunshine_async import SunshineClient, bulk


    async def main(ids: list[str]) -> None:
        async with (
            SunshineClient() as client,
            bulk.run(client.users.get, ids, concurrency=64) as outcomes,
        ):
            async for outcome in outcomes:
                match outcome:
                    case bulk.Done(_, id, user):
                        print(id, "is", user.id)
                    case bulk.Failed(_, id, error):
                        print(id, "failed:", error)
                    case bulk.Unknown(_, id, error):
                        print(id, "may have been applied:", error)


    asyncio.run(main(["jane-1", "june-2"]))

- The items come from any iterable or async iterable, such as a generator over a database. A worker
  takes an item only after an outcome was received.
- ``key=`` keeps items with the same key in order; ``ordered=True`` delivers outcomes in the order of
  the items; ``concurrency="auto"`` finds a sufficient number of calls.
- ``outcomes.stop()`` takes no more items and lets running calls end. Leaving the block cancels.

- `engine` has the workers, the order of keys, and the order of outcomes.
- `source` takes single items from any iterable, and closes the iterator.
- `batching` sends items in batches by the same engine, for services with bulk endpoints.
- `cancellation` tells a cancellation of the block from a foreign cancellation, and a call that may
  have been applied from a call that surely was not.

The modules are imported at the first use of a name: many programs with a client have no bulk runs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sunshine_async.bulk.cancellation import AbortedError
    from sunshine_async.bulk.engine import (
        Concurrency,
        Done,
        Failed,
        Outcome,
        Outcomes,
        Unknown,
        collect,
        outcome_of,
        run,
    )
    from sunshine_async.bulk.source import Items
else:  # a checker, shown this function, would take a misspelt name for a name of any type

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message)
        module = import_module(f"{__name__}.{_OUTSIDE_ENGINE.get(name, 'engine')}")
        value = globals()[name] = getattr(module, name)
        return value


__all__ = [
    "AbortedError",
    "Concurrency",
    "Done",
    "Failed",
    "Items",
    "Outcome",
    "Outcomes",
    "Unknown",
    "collect",
    "outcome_of",
    "run",
]

_OUTSIDE_ENGINE: Final = {"AbortedError": "cancellation", "Items": "source"}
"""Modules of the public names that aren't the engine's."""


def __dir__() -> list[str]:
    return __all__
