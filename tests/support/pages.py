"""Report pages with all that a page can have."""

from sunshine_async.cli.next_steps import ReasonCounts, next_steps
from sunshine_async.cli.report_page import ReportPage
from sunshine_async.jobs import Ending, Problem, Report, Trouble
from sunshine_async.jobs.timeline import PARTS, Part, Timeline


def troubled(*problems: Problem, **more: object) -> Report:
    """Return a report with *problems*, and *more* fields."""
    report = Report(**more)  # type: ignore[arg-type]
    for each in problems:
        report.add(each)
    return report


def timelines(runs: int, parts: int = PARTS) -> list[Timeline]:
    """Return the timelines of runs with refusals, a gap, an outage and slow calls."""
    return [
        Timeline(
            1.7e9 + run,
            [
                Part(1.0, n, n % 3, 0, n % 2, n, n % 5, 0.5 * (n % 4 == 0), n % 7 == 0, 9.5 * n,
                     {40 + n % 20: 3} if n % 6 else {})
                for n in range(parts)
            ],
            None if run else "stopped",
        )
        for run in range(runs)
    ]  # fmt: skip


FULL = troubled(
    *(Problem(7, trouble, "conflict", "409 conflict") for trouble in Trouble),
    done=3, waiting=2, left_out=1, found=9.5, window=10.0, ending=Ending.GAVE_UP, reason="gone",
)  # fmt: skip
"""A report of a job that gave up, with rows of each outcome."""


def full_page() -> str:
    """Return a page with each section: charts of two runs, reasons, a limit and steps."""
    reasons = ReasonCounts(show_data=True)
    for problem in FULL.problems:
        reasons.add(problem)
    steps = next_steps(FULL, ["sunshine-async", "import", "users.csv"], journal="run.sqlite")
    page = ReportPage(
        report=FULL, title="Report", about={"Service": "sunshine"}, reasons=reasons,
        timelines=timelines(2), steps=steps,
    )  # fmt: skip
    return page.as_html()
