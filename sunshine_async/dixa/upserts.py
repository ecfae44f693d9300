"""Upserts: find an end user and patch, or create; singly, or many in few requests."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from copy import copy
from typing import Any, Final, TypeAlias

import anyio
from attrs import define, field

from sunshine_async._calls.pages import Page
from sunshine_async._calls.upsert import FirstTry, UpsertEffect, UpsertResult, mark_uncertain
from sunshine_async.bulk.batching import Sender
from sunshine_async.bulk.cancellation import error_after_doubt, maybe_applied, to_exception
from sunshine_async.dixa.bulk_requests import (
    AMBIGUOUS,
    CONFLICT,
    LOOK_UP,
    OUTAGE_ERRORS,
    REFUSED_CREDENTIALS,
    BulkCreate,
    LookUp,
    Result,
    is_taken,
    item_size,
    note_if_sent,
)
from sunshine_async.dixa.matching import (
    Key,
    all_keys,
    differences,
    has_readable_keys,
    key,
    search_values,
    unique_keys,
)
from sunshine_async.dixa.models import BulkPatchEndUserInput, CreateEndUserInput, EndUser
from sunshine_async.errors import ConflictError, SunshineError

UpsertOutcome: TypeAlias = UpsertResult[EndUser] | Exception

PAGE_LIMIT: Final = 100
"""End users a page, for reading the list of all."""
ID_BYTES: Final = 64
"""Bytes of an id: the patch of a found end user is larger than the create by as much."""
MIN_LOOK_UPS: Final = 10
"""Look-ups of a batch from which reading the list of all may take fewer requests."""
MAX_INDEXED: Final = 200_000
"""The most end users that are kept in memory. Beyond that, each end user is looked up."""


async def find_user(body: CreateEndUserInput, look_up: LookUp, *, endpoint: str) -> EndUser | None:
    """Return the end user with the external id, e-mail or phone number of *body*, or None.

    `ConflictError` with the code ``AmbiguousMatch`` if the keys lead to several end users.
    """
    users: dict[str, EndUser] = {}
    for name, value in search_values(body).items():
        if any(key(name, value) in unique_keys(user) for user in users.values()):
            continue
        found = look_up(name, value)
        del value  # error reporters attach local variables
        users.update((user.id, user) for user in await found)
        if len(users) > 1:
            raise ConflictError(CONFLICT, endpoint=endpoint, errors=(AMBIGUOUS,))
    return next(iter(users.values()), None)


async def find_or_create(
    body: CreateEndUserInput,
    look_up: LookUp,
    create: Callable[[CreateEndUserInput], Awaitable[EndUser]],
    *,
    endpoint: str,
    change: Callable[[EndUser], Awaitable[EndUser]] | None = None,
) -> EndUser:
    """Return the end user found for *body* after *change*, or the end user from *create*.

    A create is followed by a further look-up if the e-mail or phone number is taken, or if the
    answer is lost. `ValueError` for a body without a key to look up.
    """
    require_key(body)
    user = await find_user(body, look_up, endpoint=endpoint)
    if user is not None:
        return user if change is None else await change(user)
    try:
        return await create(body)
    except SunshineError as error:
        if not error.maybe_applied and not is_taken(error):
            raise
        refused = error
    with mark_uncertain(endpoint) if refused.maybe_applied else nullcontext():
        user = await find_user(body, look_up, endpoint=endpoint)
        if user is not None:
            return user if change is None else await change(user)
    raise refused


def require_key(body: CreateEndUserInput) -> None:
    """Raise `ValueError` for a body without a key to look up."""
    if not search_values(body):
        message = (
            "external_id, email and phone_number are not set:"
            " without one of them nobody can tell whether the end user is there"
        )
        raise ValueError(message)


_json_size: Final = item_size(CreateEndUserInput, room=ID_BYTES)


def size(body: CreateEndUserInput) -> int:
    """Return the bytes of *body* as JSON; raise for a body that can't be sent, or looked up."""
    measured = _json_size(body)
    require_key(body)
    return measured


def changes_of(body: CreateEndUserInput, user: EndUser) -> dict[str, Any]:
    """Return the fields of *body* that differ from *user*, for a patch; empty without any."""
    changes = differences(body, user)
    extra = {name: value for name, value in body.extra.items() if user.extra.get(name) != value}
    return {**changes, "extra": extra} if extra else changes


@define(eq=False)
class UserIndex:
    """In-memory index of all end users, read from the list of all while that saves requests."""

    _pages: AsyncIterator[Page[EndUser]]
    _limit: int = MAX_INDEXED
    complete: bool = False
    """True if an end user who isn't in the index doesn't exist."""
    _disabled: bool = False
    """True if there are too many end users, or the list can't be trusted: the index stays empty."""
    _users: dict[str, EndUser] = field(factory=dict[str, EndUser])
    _by_key: defaultdict[Key, dict[str, EndUser]] = field(
        factory=lambda: defaultdict[Key, dict[str, EndUser]](dict)
    )
    _lock: anyio.Lock = field(factory=anyio.Lock)

    async def read(self, look_ups: int) -> Exception | None:
        """Read at most as many pages as *look_ups* are saved, so the cost never doubles.

        Return the error if the service refuses the credentials.
        """
        if look_ups < MIN_LOOK_UPS:
            return None
        async with self._lock:
            for _ in range(look_ups):
                if self.complete or self._disabled:
                    break
                try:
                    page = await anext(self._pages)
                except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                    failed = to_exception(error, LOOK_UP)
                    self._disable()
                    return failed if isinstance(failed, REFUSED_CREDENTIALS) else None
                if page.unreadable:
                    self._disable()
                for user in page.items:
                    if user.id not in self._users:  # an end user changed by this run is newer
                        self.put(user)
                self.complete = page.next is None and not self._disabled
        return None

    async def look_up(self, name: str, value: str) -> Sequence[EndUser]:
        """Return the end users with *value* in the field *name*."""
        return [*self._by_key.get(key(name, value), {}).values()]

    def put(self, user: EndUser) -> None:
        """Store *user* in place of an earlier state; disable the index for an unreadable key."""
        if self._disabled:
            return
        if not has_readable_keys(user):
            self._disable()
            return
        earlier = self._users.get(user.id)
        for each in all_keys(earlier) if earlier else ():
            del self._by_key[each][user.id]
        self._users[user.id] = user
        for each in all_keys(user):
            self._by_key[each][user.id] = user
        if len(self._users) > self._limit:
            self._disable()

    def _disable(self) -> None:
        self._disabled = True
        self.complete = False
        self._users.clear()
        self._by_key.clear()


def without_effects(
    sender: Sender[CreateEndUserInput, UpsertResult[EndUser]],
) -> Sender[CreateEndUserInput, EndUser]:
    """Return a sender like *sender* whose results are end users, without the effect on each."""

    async def send(bodies: Sequence[CreateEndUserInput]) -> list[Result]:
        results = await sender.send(bodies)
        return [one.value if isinstance(one, UpsertResult) else one for one in results]

    return Sender(sender.size, sender.keys, send)


@define(eq=False, kw_only=True)
class BulkUpsert:
    """Upserts in few requests, a batch at a time.

    A body without an external id is created first, while the last end users were new. Any further
    body is looked up first: singly, or in the list of all. Found end users are patched.
    """

    look_up: LookUp
    bulk_create: BulkCreate
    patch: Callable[[Sequence[BulkPatchEndUserInput]], Awaitable[Sequence[Result]]]
    index: UserIndex
    endpoint: str
    guess: FirstTry = field(factory=FirstTry)

    async def upsert(self, bodies: Sequence[CreateEndUserInput]) -> list[UpsertOutcome]:
        """Return an outcome for each of *bodies*, in order.

        The effect is `UpsertEffect.EITHER` where a look-up settled a create without clear answer.
        """
        batch = _UpsertBatch(self, bodies)
        with note_if_sent(batch.outcomes):
            await batch.run()
        return [batch.outcomes[index] for index in range(len(bodies))]


@define(eq=False)
class _UpsertBatch:
    """Progress of a batch of upserts; bodies are known by index."""

    bulk: BulkUpsert
    bodies: Sequence[CreateEndUserInput]
    outcomes: dict[int, UpsertOutcome] = field(factory=dict[int, "UpsertOutcome"])
    found: dict[int, EndUser] = field(factory=dict[int, EndUser])
    """End users who exist, by a look-up."""
    uncertain: AbstractSet[int] = frozenset()
    """Bodies whose create was settled by a look-up only."""

    async def run(self) -> None:
        every = range(len(self.bodies))
        first = {index for index in every if self._is_created_first(self.bodies[index])}
        refused = await self._look_up([index for index in every if index not in first])
        if isinstance(refused, REFUSED_CREDENTIALS):
            self.outcomes |= {index: copy(refused) for index in first}
        new = [index for index in every if index not in self.found.keys() | self.outcomes.keys()]
        if new:
            await self._create(new)
        taken = [index for index in new if self._needs_look_up(index)]
        await self._look_up(taken, raced={*taken} - first)
        for index in every:
            self.bulk.guess.learn(new=index not in self.found)
        await self._patch()

    def _is_created_first(self, body: CreateEndUserInput) -> bool:
        # the service refuses a taken e-mail address or phone number, but no taken external id
        return self.bulk.guess.new and not self.bulk.index.complete and not body.external_id

    async def _create(self, indexes: Sequence[int]) -> None:
        made = await self.bulk.bulk_create.run([self.bodies[index] for index in indexes])
        self.uncertain = {indexes[place] for place in made.looked_up}
        for index, result in zip(indexes, made.final_results(), strict=True):
            self._record(index, result, UpsertEffect.CREATED)

    def _needs_look_up(self, index: int) -> bool:
        """Return True if a further look-up may settle the create at *index*.

        An uncertain create with an e-mail address or phone number has been looked up already.
        """
        body, outcome = self.bodies[index], self.outcomes[index]
        if maybe_applied(outcome):
            return not (body.email or body.phone_number)
        return is_taken(outcome)

    async def _look_up(
        self, indexes: Sequence[int], raced: AbstractSet[int] = frozenset()
    ) -> Exception | None:
        """Add end users to `found`, and the errors of look-ups to `outcomes`.

        *raced*: bodies that were looked up, and refused as taken after that. An outage, or refused
        credentials, end the look-ups: all further bodies end in the same error, which is returned.
        An uncertain create stays uncertain.
        """
        outage = await self.bulk.index.read(len(indexes))
        for index in indexes:
            found = copy(outage) if outage else await self._find(index, raced=index in raced)
            if isinstance(found, EndUser):
                self.found[index] = found
            elif found is not None:
                ends = isinstance(found, OUTAGE_ERRORS + REFUSED_CREDENTIALS)
                outage = found if ends else None
                if not maybe_applied(self.outcomes.get(index)):
                    self.outcomes[index] = found
        return outage

    async def _find(self, index: int, *, raced: bool) -> EndUser | Exception | None:
        """Return the end user with the keys of a body, the error of the look-up, or None.

        A complete index answers, except for a *raced* body. The service answers without an index,
        and for a body that the index lacks although a create was refused as taken.
        """
        body, endpoint = self.bodies[index], self.bulk.endpoint
        in_index = self.bulk.index.complete and not raced
        try:
            user = None
            if in_index:
                user = await find_user(body, self.bulk.index.look_up, endpoint=endpoint)
            if user is None and (not in_index or index in self.outcomes):
                user = await find_user(body, self.bulk.look_up, endpoint=endpoint)
        except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
            return to_exception(error, LOOK_UP)
        return user

    async def _patch(self) -> None:
        """Patch the end users in `found`; several bodies of the same end user in their order."""
        latest = {user.id: user for user in self.found.values()}
        waiting = sorted(self.found)
        while waiting:
            patches: dict[int, BulkPatchEndUserInput] = {}
            ids: set[str] = set()
            later: list[int] = []
            for index in waiting:
                user = latest[self.found[index].id]
                changes = changes_of(self.bodies[index], user)
                if user.id in ids:
                    later.append(index)
                elif changes:
                    ids.add(user.id)
                    patches[index] = BulkPatchEndUserInput(id=user.id, **changes)
                else:
                    self.outcomes[index] = self._result(index, user, UpsertEffect.UNCHANGED)
            results = await self.bulk.patch([*patches.values()]) if patches else ()
            for index, result in zip(patches, results, strict=True):
                self._record(index, result, UpsertEffect.UPDATED)
                if isinstance(result, EndUser):
                    latest[self.found[index].id] = result
                elif index in self.uncertain:  # by the create
                    self.outcomes[index] = error_after_doubt(result)
            waiting = later

    def _record(self, index: int, result: Result, effect: UpsertEffect) -> None:
        if isinstance(result, EndUser):
            self.bulk.index.put(result)
            self.outcomes[index] = self._result(index, result, effect)
        else:
            self.outcomes[index] = result

    def _result(self, index: int, user: EndUser, effect: UpsertEffect) -> UpsertResult[EndUser]:
        return UpsertResult(user, UpsertEffect.EITHER if index in self.uncertain else effect)
