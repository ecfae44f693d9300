"""Charts of a job's timelines: rows, requests, durations of calls, and pauses over time."""

from collections.abc import Sequence
from typing import Final

from sunshine_async.cli.charts import Axis, Chart, Series, format_time
from sunshine_async.cli.progress import format_duration, format_latency
from sunshine_async.jobs.report import coarse_quantile
from sunshine_async.jobs.timeline import Part, Timeline, total_of

_PARTS_DRAWN: Final = 150
_TABLE_ROWS: Final = 20


def condensed(timelines: Sequence[Timeline]) -> list[list[Part]]:
    """Return the parts of each timeline, of about the same length, and so few that charts are clear."""
    seconds = total_of(part for timeline in timelines for part in timeline.parts).seconds
    return [
        _joined(timeline.parts, seconds / _PARTS_DRAWN) for timeline in timelines if timeline.parts
    ]


def _joined(parts: Sequence[Part], least: float) -> list[Part]:
    """Return *parts* with short neighbours joined, so that a part has *least* seconds or more."""
    joined: list[Part] = []
    for part in parts:
        if joined and joined[-1].seconds < least:
            joined[-1].add(part)
        else:
            joined.append(total_of([part]))
    if len(joined) > 1 and joined[-1].seconds < least:
        joined[-2].add(joined.pop())
    return joined


def charts_of(timelines: Sequence[Sequence[Part]]) -> list[Chart]:
    """Return the charts of *timelines*, a timeline for each run: rows, requests, durations, pauses."""
    lengths = [[part.seconds for part in timeline] for timeline in timelines]
    marks = [sum(map(sum, lengths[:place])) for place in range(1, len(lengths))]
    parts = [part for timeline in timelines for part in timeline]
    axis = Axis([part.seconds for part in parts], marks)
    return [
        chart(parts, axis) for chart in (_rows_chart, _requests_chart, _duration_chart, _wait_chart)
    ]


def _rows_chart(parts: Sequence[Part], axis: Axis) -> Chart:
    whole = total_of(parts)
    rows = whole.done + whole.not_done
    rates = [rate(part.done + part.not_done, part) for part in parts]
    average = rate(rows, whole)
    return Chart(
        "Rows a second",
        f"{rows:,} rows in {format_duration(whole.seconds)}: {short(average)} a second on average, "
        f"{short(max(rates))} at most.",
        axis,
        areas=[
            Series("done", "done", [rate(part.done, part) for part in parts]),
            Series("not done", "failed", [rate(part.not_done, part) for part in parts]),
        ],
    )


def _requests_chart(parts: Sequence[Part], axis: Axis) -> Chart:
    whole = total_of(parts)
    accepted = [rate(part.requests - part.throttled, part) for part in parts]
    refused = [rate(part.throttled, part) for part in parts]
    highest = max(map(sum, zip(accepted, refused, strict=True)))
    limits = [part.rate if part.rate and part.rate <= 2 * highest else None for part in parts]
    share = f", {whole.throttled:,} of them refused as too many (429)" if whole.throttled else ""
    return Chart(
        "Requests a second",
        f"{whole.requests:,} requests{share}.",
        axis,
        areas=[
            Series("answered", "requests", accepted),
            Series("refused (429)", "throttled", refused),
        ],
        lines=[Series("pace of the job, at most", "pace", limits)],
    )


def _duration_chart(parts: Sequence[Part], axis: Axis) -> Chart:
    whole = total_of(parts).calls
    half, most = (coarse_quantile(share, whole) for share in (0.5, 0.95))
    text = f"Half of the calls ended within {_time(half)}, 95 % within {_time(most)}."
    return Chart(
        "Seconds a call",
        f"{text} Waits and retries count." if whole else "No call ended.",
        axis,
        lines=[
            Series("95 % of the calls", "p95", [coarse_quantile(0.95, p.calls) for p in parts]),
            Series("half of the calls", "p50", [coarse_quantile(0.5, p.calls) for p in parts]),
        ],
    )


def _wait_chart(parts: Sequence[Part], axis: Axis) -> Chart:
    whole = total_of(parts)
    texts = [
        f"{format_duration(seconds)} {reason}"
        for seconds, reason in (
            (whole.paused, "as the service asked (429)"),
            (whole.held, "because the service was gone"),
        )
        if seconds
    ]
    return Chart(
        "Pauses",
        f"Calls waited {' and '.join(texts)}." if texts else "No call had to wait.",
        axis,
        areas=[
            Series("asked to wait", "paused", [_part_of(part.paused, part) for part in parts]),
            Series("service gone", "held", [_part_of(part.held, part) for part in parts]),
        ],
        show=lambda share: f"{100 * share:.0f} %",
        highest=1.0,
    )


def values_of(parts: Sequence[Part]) -> tuple[list[str], list[list[str]]]:
    """Return the values of the charts for a table: the names of the columns, and few rows."""
    size = -(-len(parts) // _TABLE_ROWS)
    rows: list[list[str]] = []
    at = 0.0
    for place in range(0, len(parts), size):
        part = total_of(parts[place : place + size])
        durations = [coarse_quantile(share, part.calls) for share in (0.5, 0.95)]
        rows.append([
            format_time(at), short(rate(part.done, part)), short(rate(part.not_done, part)),
            short(rate(part.requests, part)), short(rate(part.throttled, part)),
            *map(_time, durations),
            format_duration(part.paused), format_duration(part.held),
        ])  # fmt: skip
        at += part.seconds
    names = [
        "From", "Rows done a second", "Not done a second", "Requests a second",
        "Refused a second", "Half of the calls", "95 % of the calls", "Asked to wait", "Service gone",
    ]  # fmt: skip
    return names, rows


def rate(count: float, part: Part) -> float:
    """Return *count* a second of *part*."""
    return count / part.seconds if part.seconds else 0.0


def _part_of(seconds: float, part: Part) -> float:
    return min(1.0, rate(seconds, part))


def short(value: float) -> str:
    """Return *value* as a short text: whole from 10 on, with two digits below."""
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.2g}"  # noqa: PLR2004 - digits


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else format_latency(seconds)
