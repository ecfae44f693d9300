"""The state of a pace at one moment."""

from collections.abc import Mapping

from attrs import frozen

from sunshine_async._pace.slots import Lane


@frozen(kw_only=True)
class Snapshot:
    """The state of a `Pace` at one moment."""

    rate: float | None
    """Calls a second that may start, declared or learnt; None without a bound."""
    ceiling: float | None
    """The declared rate."""
    found: float | None = None
    """Calls a second that the service was seen to accept before it refused one, refused seconds
    included, or that its headers tell; None before that. ``Pace(rate=found)`` declares it."""
    window: float | None = None
    """Seconds of the window in which the service counts: *found* times *window* calls are its
    limit. None where no window was found."""
    used: float | None
    """The share of *rate* that was used and accepted in the last seconds; None without a rate."""
    in_flight: Mapping[Lane, int]
    """Calls under way."""
    waiting: Mapping[Lane, int]
    """Calls that wait to start."""
    paused: float
    """Seconds until any call starts, as a ``Retry-After`` or another header asked."""
    throttled_seconds: float
    """Seconds that all calls were paused, since the pace was made."""
    held: bool
    """Whether batches are held, since the service seems to be gone."""
    held_seconds: float
    """Seconds that batches were held, since the pace was made."""
    budget: float
    """Second tries left, from 0 to 50."""
    batch_places: int | None
    """Calls of a batch that may be under way at once, after failures; None without a bound."""
