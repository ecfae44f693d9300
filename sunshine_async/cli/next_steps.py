"""Next steps after a job, as commands that can be pasted into a shell, and the reasons of rows not done."""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Final

from attrs import define, field, frozen

from sunshine_async.jobs import Ending, Problem, Report, Trouble
from sunshine_async.rows.file import STDIN

EXAMPLES: Final = 5
"""The most examples of a reason."""
GROUPS: Final = 60
"""The most reasons; rows with more reasons are counted together."""
OTHER: Final = "other reasons"
_PROGRAM: Final = "sunshine-async"
_OWN_REASONS: Final[Mapping[str, str]] = {
    "already created": "this journal has created the user before, with another body",
    "unknown before": "an earlier run may have done the row",
    "UnsettledError": "an earlier attempt may have been applied, and nothing can tell the result",
    "stopped": "the job was stopped before the answer came",
    "aborted": "the call was cut off",
    "configuration": "a setting is missing or invalid",
    "invalid": "the row can't be sent as it is: nothing was sent",
    "unreadable answer": "the answer of the service could not be read",
    "unreadable state": "another release has written the state of the row",
    "unsent": "the service could not be reached: nothing was sent",
    "permanent": "the service could not be reached: nothing was sent, and a retry would not help",
    "throttled": "the service refused the call as one too many (429)",
    "overlapped": "another change of the same object was under way",
    "redirected": "the service sent the call to another address",
    "unavailable": "the service gave no certain answer",
    "timed out": "no answer came in time",
    "lost": "the connection broke before the whole answer came",
}
"""Reasons by code. The text of a problem may repeat the service, and the service a value of the row."""
_WITHHELD: Final = "the text may have data of the row, and is not shown here"
_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,39}")


def reason_without_data(problem: Problem) -> str:
    """Return the reason of *problem* without any text that may have a value of the row."""
    if problem.trouble is Trouble.BAD and problem.code == "bad row":
        return problem.reason  # of a `BadRow`: never has a value of the row
    if problem.code in _OWN_REASONS:
        return _OWN_REASONS[problem.code]
    status = problem.reason[:3]
    if status.isascii() and status.isdigit() and int(status) in list(HTTPStatus):
        return f"the service answered {status} ({HTTPStatus(int(status)).phrase})"
    return _WITHHELD


def code_without_data(problem: Problem) -> str:
    """Return the code of *problem*, which may be the service's, if the code looks like a code."""
    return problem.code if _CODE.fullmatch(problem.code) else "other"


def ending_without_data(reason: str) -> str:
    """Return the beginning of the *reason* that a job gave up: the text before the service's text."""
    return re.split(r"; the last: |: ", reason, maxsplit=1)[0]


@define
class ReasonCount:
    """The rows that weren't done for the same reason."""

    trouble: Trouble
    code: str
    reason: str
    count: int = 0
    examples: list[Problem] = field(factory=list[Problem])


class ReasonCounts:
    """Rows that weren't done by reason, in memory that stays flat; texts of a service only with *show_data*."""

    def __init__(self, *, show_data: bool) -> None:
        self.show_data: Final = show_data
        self._counts: Final[dict[tuple[Trouble, str, str], ReasonCount]] = {}

    def add(self, problem: Problem) -> None:
        """Count *problem*."""
        code, reason = problem.code, problem.reason
        if not self.show_data:
            code, reason = code_without_data(problem), reason_without_data(problem)
        key = (problem.trouble, code, reason)
        if key not in self._counts and len(self._counts) >= GROUPS:
            key = (problem.trouble, OTHER, OTHER)
        counted = self._counts.setdefault(key, ReasonCount(*key))
        counted.count += 1
        if len(counted.examples) < EXAMPLES:
            counted.examples.append(problem)

    def most_common(self) -> list[ReasonCount]:
        """Return the reasons, the most frequent first."""
        return sorted(self._counts.values(), key=lambda counted: -counted.count)


@frozen
class NextStep:
    """A next step: a sentence, and the commands, which a POSIX shell can run."""

    text: str
    commands: Sequence[str] = ()


def without_option(words: Sequence[str], name: str, *, is_flag: bool = False) -> list[str]:
    """Return the command *words* without the option *name*, and without the value unless *is_flag*."""
    changed = [word for word in words if not word.startswith(f"{name}=")]
    while name in changed:
        place = changed.index(name)
        del changed[place : place + (1 if is_flag else 2)]
    return changed


def with_option(words: Sequence[str], name: str, value: str | None = None) -> list[str]:
    """Return the command *words* with the option *name*, in place of an earlier value."""
    changed = without_option(words, name, is_flag=value is None)
    changed[2:2] = [name] if value is None else [name, value]
    return changed


def _has_failed(report: Report) -> bool:
    return bool(report.failed - report.codes["already created"])


_BY_HAND: Final = "Give the rows that are not done to the same program or command again."
_SETTLE: Final = (
    "Settle the unknown rows: a message, or a row with a key, is looked up first. Any other row is "
    "sent again: look at the service before."
)
_RETRIES: Final[Sequence[tuple[Callable[[Report], bool], str, str]]] = (
    (lambda report: bool(report.waiting), "", "Go on with the rows that wait: run the same command."),
    (_has_failed, "--retry-failed", "Send the failed rows again, when the cause is mended."),
    (
        lambda report: bool(report.unknown),
        "--retry-unknown",
        _SETTLE,
    ),
)  # fmt: skip
"""When a command is run again: the condition, the option to add, and the sentence."""


def next_steps(
    report: Report,
    command: Sequence[str],
    *,
    journal: str | None,
    guessed: bool = False,
    is_csv: bool = False,
    by_workers: bool = False,
) -> list[NextStep]:
    """Return the steps after a job that *command* has run; no words: a program has run the job.

    A *guessed* command may lack options. With *is_csv* the file of the job is CSV. With *by_workers*
    *journal* is the cluster of an import, whose workers have the options of the calls.
    """
    if STDIN in command:  # the rows can't be read again
        command = ()
    steps: list[NextStep] = []
    if journal is not None and command:
        steps += _retry_steps(report, command, guessed=guessed)
    if journal is not None and report.troubles:
        failures = f"{_PROGRAM} job failures {shlex.quote(journal)}"
        steps.append(
            NextStep(
                "List the rows that were not done, each with line and reason. Correct the rows, and "
                "import the list.",
                [f"{failures} --out failed.{'csv' if is_csv else 'jsonl'}"],
            )
        )
    if journal is None and report.troubles and command:
        text = "Next time, keep a journal: the same command then goes on, and no row is sent twice."
        steps.append(NextStep(text, [shlex.join(with_option(command, "--journal", "run.sqlite"))]))
    if report.found is not None and command:
        text, limited = "Begin the next import with the limit that was found.", command
        if by_workers:
            text = "Start the workers of the next import with the limit that a worker found."
            limited = [_PROGRAM, "worker", "--cluster", str(journal)]
        rate = with_option(limited, "--rate", f"{report.found:.3g}")
        steps.append(NextStep(text, [shlex.join(rate)]))
    if journal is None and report.ending is not Ending.ALL:
        line = f"{report.last_line:,}"
        steps.insert(0, NextStep(f"Rows up to line {line} were taken. Import the later rows."))
    is_done = report.ending is Ending.ALL and not report.troubles and not report.waiting
    return steps or [NextStep("Nothing is left to do." if is_done else _BY_HAND)]


def _retry_steps(report: Report, command: Sequence[str], *, guessed: bool) -> Iterable[NextStep]:
    more = " Add the other options of the first run, such as --map." if guessed else ""
    for applies, option, text in _RETRIES:
        if applies(report):
            again = with_option(command, option) if option else command
            yield NextStep(text + more, [shlex.join(again)])
