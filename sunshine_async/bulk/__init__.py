"""Run a coroutine function over many items: bounded concurrency, an outcome for each item.

`run` starts workers. Each takes an item, calls the function, and delivers the outcome to a stream,
`Outcomes`. An outcome is `Done`, `Failed` (not applied) or `Unknown` (may have been applied).
`collect` returns a list for few items. Memory stays flat for any number of items.

- `engine` has the workers, the order of keys, and the order of outcomes.
- `source` takes single items from any iterable, and closes the iterator.
- `batching` sends items in batches by the same engine, for services with bulk endpoints.
- `cancellation` tells a cancellation of the block from a foreign cancellation, and a call that may
  have been applied from a call that surely was not.
"""

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
