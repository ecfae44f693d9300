"""Options of a job: one value, from the caller to each part of the job."""

from collections.abc import Callable, Mapping
from enum import Enum
from types import NoneType
from typing import Final

from attrs import asdict, evolve, frozen

from sunshine_async._pace.settings import Kinds, Setting, check_kinds, check_settings
from sunshine_async.bulk.engine import Concurrency, check_concurrency
from sunshine_async.jobs.report import Problem, Report
from sunshine_async.jobs.tasks.task import Mode, Task
from sunshine_async.journal import Rules

GRACE: Final = 10.0  # default seconds for running calls to end after a stop
MAX_OUTAGE: Final = 900.0  # default seconds to wait for a service that is gone


class Duplicates(Enum):
    """Choice of the rows to send from rows with the same key."""

    LAST = "last"
    FIRST = "first"
    ALL = "all"
    """All, in input order, and never two at once."""
    FAIL = "fail"
    """None: the job doesn't start."""


_KINDS: Final[Kinds] = {
    "duplicates": (Duplicates | None, "one such as Duplicates.LAST"),
    "on_problem": ((Callable, NoneType), "a function"),
    "on_progress": ((Callable, NoneType), "a function"),
    **dict.fromkeys(
        ("retry_failed", "retry_unknown", "accept_changed_source", "full", "keep_bodies"),
        (bool, "True or False"),
    ),
}
_RULES: Final[Mapping[Mode, Rules]] = {
    Mode.CREATE: Rules(once=True, skips=True),
    Mode.UPDATE: Rules(differ=True, marked=False),
    Mode.UPSERT: Rules(differ=True, skips=True),
    Mode.DELETE: Rules(),
    Mode.MESSAGE: Rules(once=True, skips=True),
}


@frozen(kw_only=True)
class JobOptions:
    """Options of a `Job`; the second group is for a job with a journal."""

    concurrency: Concurrency | None = None
    """Calls under way at once; None: the default of the service and mode."""
    max_failures: int | None = None
    max_outage: float = MAX_OUTAGE
    grace: float = GRACE
    on_problem: Callable[[Problem], None] | None = None

    duplicates: Duplicates | None = None
    """None: the last row of a file; all rows of a source that can't be read twice."""
    retry_failed: bool = False
    retry_unknown: bool = False
    accept_changed_source: bool = False
    full: bool = False
    """True: rows that haven't changed since the service last accepted the row are sent too."""
    keep_bodies: bool = False
    on_progress: Callable[[Report], None] | None = None

    def __attrs_post_init__(self) -> None:
        """Raise `ValueError` for a number that can't work, `TypeError` for a text in place of a choice."""
        settings: tuple[Setting, ...] = (
            ("max_failures", self.max_failures, lambda it: it is None or it >= 0, "rows, 0 or more; None: no bound"),
            ("max_outage", self.max_outage, lambda it: it >= 0, "seconds, 0 or more"),
            ("grace", self.grace, lambda it: it >= 0, "seconds, 0 or more"),
        )  # fmt: skip
        check_settings("Job", settings)
        if self.concurrency is not None:
            check_concurrency(self.concurrency)
        check_kinds(_KINDS, asdict(self, recurse=False))

    def rules(self, mode: Mode, task: Task) -> Rules:
        """Return the rules for rows of a user whom the journal knows already."""
        rules = _RULES[mode]
        skips = rules.skips and not self.full
        aliased = rules.differ and task.key_includes_field
        return evolve(rules, skips=skips, by_count=self.accept_changed_source, aliased=aliased)
