"""Times as people and programs write them, normalized to times with their offset from UTC."""

from collections.abc import Collection
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from typing import Any, Final

from sunshine_async._codec import Misfit
from sunshine_async.rows.columns import time_fields
from sunshine_async.rows.shape import Shape, SourceError, set_field, value_at

_SAMPLE: Final = datetime(2020, 5, 21, 15, 53, 30, tzinfo=UTC)
_EXAMPLE: Final = "--date-format '%d/%m/%Y %H:%M'"
_DATE_LENGTH: Final = len("2020-05-21")
_MIDNIGHT: Final = datetime.min.time()
_NO_ZONE: Final = "the time has no zone: --timezone Europe/Berlin reads such times"
_TWICE: Final = (
    "the clock in {} shows this time twice, as it is set back: write the offset (+01:00)"
)
_NEVER: Final = "the clock in {} never shows this time, as it is set forward: correct the time"


class TimeNormalizer:
    """Normalizes the times of rows: a time without a zone is a time in *timezone*.

    *formats* are formats of `datetime.strptime`, tried in their order; ISO 8601 is read as well. A
    date is the first moment of the day. A time that has its zone stays that time. A row is bad if
    a time fits no format, or if the clock in *timezone* shows the time twice or never. Raise
    `SourceError` for an unknown timezone, an unusable format, or a *shape* without times.
    """

    def __init__(self, timezone: str | None, formats: Collection[str], shape: Shape) -> None:
        self._fields: Final = () if shape.body is None else time_fields(shape.body)
        if not self._fields:
            message = "--timezone and --date-format are for rows with times: leave them out"
            raise SourceError(message)
        self._name: Final = timezone
        self._zone: Final = None if timezone is None else _zone(timezone)
        self._formats: Final = {form: _is_date_format(form) for form in formats}

    def normalize(self, data: dict[str, Any]) -> None:
        """Normalize the times of a row; raise `Misfit` for an unreadable time."""
        for path in self._fields:
            value = value_at(data, path)
            if isinstance(value, str):
                set_field(data, path, self._normalize(value.strip(), ".".join(path)))

    def _normalize(self, text: str, path: str) -> str:
        for form, is_date in self._formats.items():
            try:
                found = datetime.strptime(text, form)  # noqa: DTZ007 - the zone comes next
            except ValueError:
                continue
            return self._in_zone(found, path, is_date=is_date)
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            known = " or ".join(map(_SAMPLE.strftime, (*self._formats, "%Y-%m-%dT%H:%M:%S")))
            more = "" if self._formats else f" ({_EXAMPLE} reads 21/05/2020 15:53)"
            reason = f"expected a time such as {known}{more}"
        else:
            if found.tzinfo is not None and text[_DATE_LENGTH] in "T ":
                return text  # as without the options: a journal compares the texts
            return self._in_zone(found, path, is_date=len(text) <= _DATE_LENGTH)
        raise Misfit(reason, path)

    def _in_zone(self, time: datetime, path: str, *, is_date: bool) -> str:
        """Return *time*, with the offset of the zone if *time* has none."""
        if time.tzinfo is not None:
            return time.isoformat()
        if self._zone is None:
            raise Misfit(_NO_ZONE, path)
        first, second = (time.replace(tzinfo=self._zone, fold=fold) for fold in (0, 1))
        if first.utcoffset() == second.utcoffset():
            return first.isoformat()
        shown = first.astimezone(UTC).astimezone(self._zone)
        if is_date:
            return shown.isoformat()
        is_twice = shown.replace(tzinfo=None) == time
        raise Misfit((_TWICE if is_twice else _NEVER).format(self._name), path)


def _zone(name: str) -> tzinfo:
    """Return the time zone called *name*; raise `SourceError` for an unknown zone."""
    from zoneinfo import ZoneInfo, available_timezones  # noqa: PLC0415 - for this option alone

    try:
        return ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        near = get_close_matches(name, available_timezones(), n=3, cutoff=0.6)
    more = f". Did you mean {' or '.join(near)}?" if near else ""
    message = f"--timezone {name} isn't a known time zone, such as Europe/Berlin or UTC{more}"
    raise SourceError(message)


def _is_date_format(text: str) -> bool:
    """Return True if the format *text* has no time of the day; raise `SourceError` if unusable."""
    needs = (
        f"isn't the format of a date with day (%d), month (%m) and year (%Y), such as {_EXAMPLE}"
    )
    try:
        same = datetime.strptime(_SAMPLE.strftime(text), text)  # noqa: DTZ007 - the zone doesn't count
        if same.date() == _SAMPLE.date():
            if same.hour in (0, _SAMPLE.hour):
                return same.time() == _MIDNIGHT
            needs = "has hours from 1 to 12 (%I): add AM or PM (%p), or read hours up to 24 (%H)"
    except (ValueError, Warning):
        pass
    message = f"--date-format {text!r} {needs}"
    raise SourceError(message)
