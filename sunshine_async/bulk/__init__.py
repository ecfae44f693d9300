"""Any coroutine over many items: bounded concurrency, and one outcome for each item."""

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
