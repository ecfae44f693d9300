"""A rehearsal at a terminal: what is said of it, and the status that the process exits with."""

import sys
from collections.abc import Mapping

from sunshine_async.cli.leaving import Status
from sunshine_async.cli.screen import SHOWN, Screen, duration, figures, listing
from sunshine_async.cli.streams import emit_json
from sunshine_async.jobs import Mode, Rehearsal, RowFile, Service, rehearse

_DEPENDS = "that depends on the service; say --rate to have it worked out"


def rehearsed(
    service: Service, mode: Mode, rows: RowFile, screen: Screen, *, rate: float | None
) -> int:
    """Read *rows*, send nothing, show what a job would make of them; return the exit status."""
    found = rehearse(
        service, mode, rows, rate=rate, on_problem=screen.problem if screen.as_json else None
    )
    about = {"file": rows.name, "service": service.name, "mode": mode.value}
    if screen.as_json:
        emit_json(sys.stdout, {**about, "dry_run": True, **found.as_json()})
    else:
        _show(found, ", ".join(about.values()), screen)
    return Status.TROUBLE if found.bad else Status.DONE


def _show(found: Rehearsal, title: str, screen: Screen) -> None:
    if found.problems:
        screen.say(listing(found.problems[:SHOWN]))
    if found.bad > SHOWN:
        screen.say(f"... and {found.bad - SHOWN:,} more: with --json each one is on stderr\n")
    screen.say(figures(f"dry run of {title}", _figures(found)))
    if found.beyond:
        keys = ", ".join(f"{key} (rows: {rows:,})" for key, rows in found.beyond.most_common())
        screen.say(f"Sent as they are, though no field known here is called so: {keys}")
    screen.say("Nothing was sent.")


def _figures(found: Rehearsal) -> Mapping[str, str]:
    takes = _DEPENDS
    if found.seconds is not None:
        least = " at least," if found.most > 1 else ""
        takes = f"{duration(found.seconds)}{least} at {found.rate:g} requests a second"
    shown = {
        "rows": f"{found.rows:,}",
        "valid": f"{found.valid:,}",
        "bad": f"{found.bad:,}",
        "duplicates": f"{found.duplicates:,}",
        "requests": f"{found.requests:,}",
        "time": takes,
    }
    if found.turned:
        shown["numbers"] = f"{found.turned:,}  (turned into E.164)"
    if found.national:
        shown["numbers"] = f"{found.national:,} not in E.164 (+...): --default-region turns them"
    if found.most > 1:
        shown["requests"] += f"  ({found.most} rows in one; look-ups come on top)"
    if found.duplicates:
        first = ", ".join(f"{line} as {before}" for line, before in found.repeated[:5])
        more = ", ..." if found.duplicates > 5 else ""  # noqa: PLR2004 - those named
        shown["duplicates"] += f"  (rows with the key of an earlier one; lines {first}{more})"
    return shown
