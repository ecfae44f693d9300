"""What an emulator is set to, what it holds, what is to go wrong, and what it has counted."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from math import ceil
from pathlib import Path
from threading import Lock
from typing import Any, Final

from sunshine_async._pace import Pace
from sunshine_async.emulator.credentials import Credentials
from sunshine_async.emulator.dixa import Dixa
from sunshine_async.emulator.faults import DRAWN, Mishap, Mishaps, Scripted
from sunshine_async.emulator.platform import Platform
from sunshine_async.emulator.service import Change, Keeper, Service, StateFile
from sunshine_async.emulator.smooch import Smooch
from sunshine_async.emulator.sunshine import SUPPORT, Sunshine
from sunshine_async.errors import ConfigurationError

_ROUNDING: Final = 1e-9
BURSTS: Final[Mapping[str, float]] = {"dixa": 0.4}
"""By service: how many seconds' requests may come at once, where it isn't a tenth of one's."""


class Emulation:
    """The state of an emulator, however it is called. It may be used from several threads."""

    def __init__(
        self,
        *,
        rate: float | None,
        burst: float | None,
        latency: float,
        fail: float,
        seed: int | None,
        keys: Iterable[str],
        tokens: Iterable[str],
        odds: Mapping[Mishap, float] | None,
        state: str | Path | None,
        clock: Callable[[], float],
    ) -> None:
        if not 0 <= fail <= 1:
            message = f"fail={fail}: a probability, from 0 to 1"
            raise ConfigurationError(message)
        if not 0 <= latency < float("inf"):
            message = f"latency={latency}: seconds, 0 or more"
            raise ConfigurationError(message)
        shares = {**(odds or {})}
        for mishap in DRAWN if fail else ():
            shares[mishap] = shares.get(mishap, 0.0) + fail / len(DRAWN)
        if not all(share >= 0 for share in shares.values()) or (
            sum(shares.values()) > 1 + _ROUNDING
        ):
            message = "odds: probabilities, 1 in all at most"
            raise ConfigurationError(message)
        self.lock: Final = Lock()
        """Held while what is stored, scripted or counted is read or changed."""
        self.platform: Final = Platform()
        self.sunshine: Final = Sunshine(self.platform)
        self.smooch: Final = Smooch(self.platform)
        self.dixa: Final = Dixa()
        self.services: Final[Mapping[str, Service]] = {
            "sunshine": self.sunshine,
            "smooch": self.smooch,
            "dixa": self.dixa,
        }
        self._keepers: Final[Mapping[str, Keeper]] = {"platform": self.platform, **self.services}
        self._state: Final = None if state is None else self._restored(Path(state))
        self.mishaps: Final = Mishaps(shares, seed)
        self.credentials: Final = Credentials(keys, tokens)
        self.latency: Final = latency
        self.requests = 0
        """How many requests came, those to ``/_emulator`` not counted."""
        self.throttled = 0
        """How many of them were answered with 429."""
        self._paces: Final[Mapping[Service, Pace]] = {
            service: _pace(rate, burst, BURSTS.get(name)) for name, service in self.services.items()
        }
        self._clock: Final = clock

    @property
    def faults(self) -> list[Scripted]:
        """What is still to go wrong with the calls to come, first come, first hit.

        A `Mishap`, or an `httpx.TransportError`, which is raised in process before the effect; on a
        socket the connection is reset instead.
        """
        return self.mishaps.scripted

    @faults.setter
    def faults(self, faults: list[Scripted]) -> None:
        self.mishaps.scripted = faults

    def ledger(self) -> dict[str, Any]:
        """Return what was done: what ``GET /_emulator/ledger`` answers."""
        with self.lock:
            return {
                **{
                    name: {"users": len(service), "effects": dict(service.effects)}
                    for name, service in self.services.items()
                },
                "requests": self.requests,
                "throttled": self.throttled,
                "faults": dict(self.mishaps.happened),
            }

    def reset(self) -> None:
        """Forget all users, counts and scripted faults, and draw faults from the beginning."""
        with self.lock:
            for keeper in self._keepers.values():
                keeper.clear()
            self.mishaps.clear()
            if self._state is not None:
                self._state.forget()
            self.requests = self.throttled = 0

    def close(self) -> None:
        """Close the file of its state, if it has one."""
        if self._state is not None:
            self._state.close()

    def users(self, service: str, *, app_id: str | None = None) -> list[Mapping[str, Any]]:
        """Return the stored users of *service* as on the wire, those of one app or all."""
        with self.lock:
            return [*self.services[service].users(app_id)]

    def add(self, service: str, user: Mapping[str, Any], *, app_id: str = "") -> Mapping[str, Any]:
        """Store a user of *service* as it is given, and return it as stored; no effect is counted.

        It may have what only the service sets, such as ``zendeskId`` and ``identities``. Raise
        `ValueError` for what a user can't be, where one of its ids is taken, and without an
        *app_id* where the service has apps.
        """
        if not app_id and self.has_apps(service):
            message = f"app_id: a user of {service} is of an app"
            raise ValueError(message)
        with self.changing():
            return self.services[service].add(user, app_id=app_id)

    def add_support(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Store a Support record of the account, and return it; `SyncUser` aligns users with it.

        It has a ``zendeskId``, and any of ``givenName``, ``surname``, ``externalId`` and ``email``;
        it takes the place of the record with that id. Raise `ValueError` for what can't be.
        """
        checked: Mapping[str, Any] = SUPPORT.exact(record)
        with self.changing():
            self.platform.add_support(checked)
        return checked

    @contextmanager
    def changing(self) -> Generator[None]:
        """Hold the lock, and keep the changes of the block in the state file, all or none."""
        with self.lock:
            try:
                yield
            finally:
                if self._state is not None:
                    self._state.commit()

    def has_apps(self, service: str) -> bool:
        """Return whether the users of *service* belong to apps."""
        return any("app_id" in one.endpoint.fields for one in self.services[service].operations)

    def wait_asked(self, service: Service) -> int | None:
        """Count a request; return the seconds to come back after if it is over the rate."""
        self.requests += 1
        pace = self._paces[service]
        if pace.rate is None:
            return None
        if pace.enter(self._clock()):
            pace.leave()
            return None
        return ceil(1 / pace.rate)

    def _restored(self, path: Path) -> StateFile:
        """Make the changes that were kept at *path*, and let it keep those to come."""
        state = StateFile(path)
        for name, *change in state.changes:
            self._keepers[name].restore(change)
        state.changes.clear()
        for name, keeper in self._keepers.items():
            keeper.keep(partial(_add, state, name))
        return state


def _add(state: StateFile, name: str, change: Change) -> None:
    state.add([name, *change])


def _pace(rate: float | None, burst: float | None, usual: float | None) -> Pace:
    try:
        if burst is None and rate and usual:
            burst = max(1.0, rate * usual)
        return Pace(rate=rate, burst=burst)
    except ValueError:
        message = f"rate={rate}: requests a second, more than 0; burst={burst}: 1 or more"
    raise ConfigurationError(message)
