"""Create, or change what is there: one at a time, or many in few requests."""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import nullcontext
from copy import copy
from typing import Any, Final, TypeAlias

import anyio
from attrs import define, field

from sunshine_async._calls.upsert import FirstTry, UpsertEffect, UpsertResult, in_doubt
from sunshine_async.bulk.batching import Sender
from sunshine_async.bulk.cancellation import error_after_doubt, maybe_applied, to_exception
from sunshine_async.dixa.bulk_requests import (
    AMBIGUOUS,
    CONFLICT,
    GONE,
    LOOK,
    Creating,
    Look,
    Result,
    is_taken,
    noting,
    of_look,
    size_as,
)
from sunshine_async.dixa.matching import (
    Key,
    all_keys,
    asked,
    differences,
    is_indexable,
    key,
    unique_keys,
)
from sunshine_async.dixa.models import BulkPatchEndUserInput, CreateEndUserInput, EndUser
from sunshine_async.dixa.pages import Page
from sunshine_async.errors import SunshineError

Ended: TypeAlias = UpsertResult[EndUser] | Exception
"""What became of an upsert."""

PAGE_LIMIT: Final = 100
"""The end users asked for on a page where all of them are read."""
PATCH_ROOM: Final = 64
"""The bytes that an id takes, where what was to be created is patched."""
WORTH_LISTING: Final = 10
"""The look-ups of one batch from which on the list of all may be the cheaper way."""
MOST_KNOWN: Final = 200_000
"""The end users that are kept in memory at most; of more, each is looked up."""


async def found(body: CreateEndUserInput, look: Look, *, endpoint: str) -> EndUser | None:
    """Return whom the external id, e-mail and phone number of *body* lead to, None if to nobody.

    Raise `ConflictError` with the code ``AmbiguousMatch`` where they lead to several.
    """
    users: dict[str, EndUser] = {}
    for name, value in asked(body).items():
        if any(key(name, value) in unique_keys(user) for user in users.values()):
            continue
        users.update((user.id, user) for user in await look(name, value))
        if len(users) > 1:
            raise of_look(CONFLICT, AMBIGUOUS, endpoint=endpoint)
    return next(iter(users.values()), None)


async def found_or_created(
    body: CreateEndUserInput,
    look: Look,
    create: Callable[[CreateEndUserInput], Awaitable[EndUser]],
    *,
    endpoint: str,
    then: Callable[[EndUser], Awaitable[EndUser]] | None = None,
) -> EndUser:
    """Return what *create* makes of *body*, or the one who is there: what *then* makes of it.

    A create that finds its e-mail or phone number taken, or whose answer is lost, is followed by
    one more look. Raise `ValueError` for a body without anything to look for.
    """
    require_key(body)
    user = await found(body, look, endpoint=endpoint)
    if user is not None:
        return user if then is None else await then(user)
    try:
        return await create(body)
    except SunshineError as error:
        if not error.maybe_applied and not is_taken(error):
            raise
        refused = error
    with in_doubt(endpoint) if refused.maybe_applied else nullcontext():
        user = await found(body, look, endpoint=endpoint)
        if user is not None:
            return user if then is None else await then(user)
    raise refused


def require_key(body: CreateEndUserInput) -> None:
    """Raise `ValueError` if *body* has nothing that tells whether the end user is there."""
    if not asked(body):
        message = (
            "external_id, email and phone_number are not set:"
            " without one of them nobody can tell whether the end user is there"
        )
        raise ValueError(message)


_measured: Final = size_as(CreateEndUserInput, room=PATCH_ROOM)


def size(body: CreateEndUserInput) -> int:
    """Return how large *body* is as JSON; raise for what can't be sent, or be found again."""
    measured = _measured(body)
    require_key(body)
    return measured


def changes_of(body: CreateEndUserInput, user: EndUser) -> dict[str, Any]:
    """Return the fields of a patch that has what *body* sets and *user* hasn't."""
    changes = differences(body, user)
    beyond = {name: value for name, value in body.extra.items() if user.extra.get(name) != value}
    return {**changes, "extra": beyond} if beyond else changes


@define(eq=False)
class Known:
    """All end users there are, read from the list of them as far as it is worth it."""

    _pages: AsyncIterator[Page[EndUser]]
    _most: int = MOST_KNOWN
    complete: bool = False
    """Whether whoever isn't here isn't there."""
    _too_many: bool = False
    """Whether each is looked up instead: there are too many, or the list can't be trusted."""
    _users: dict[str, EndUser] = field(factory=dict[str, EndUser])
    _by_key: defaultdict[Key, dict[str, EndUser]] = field(
        factory=lambda: defaultdict[Key, dict[str, EndUser]](dict)
    )
    _one_at_a_time: anyio.Lock = field(factory=anyio.Lock)

    async def read(self, look_ups: int) -> None:
        """Read on: as many pages as there are *look_ups* to be saved, so it never costs double."""
        if look_ups < WORTH_LISTING:
            return
        async with self._one_at_a_time:
            for _ in range(look_ups):
                if self.complete or self._too_many:
                    return
                try:
                    page = await anext(self._pages)
                except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                    to_exception(error, LOOK)
                    self._forget()
                    return
                if page.unreadable:
                    self._forget()
                    return
                for user in page.items:
                    if user.id not in self._users:  # what this run has made of it is newer
                        self.put(user)
                self.complete = page.next is None and not self._too_many

    async def look(self, name: str, value: str) -> Sequence[EndUser]:
        """Return who has *value* in the field *name*."""
        return [*self._by_key.get(key(name, value), {}).values()]

    def put(self, user: EndUser) -> None:
        """Take in *user* as it is now; forget all where a key of *user* couldn't be read."""
        if self._too_many:
            return
        if not is_indexable(user):
            self._forget()
            return
        earlier = self._users.get(user.id)
        for each in all_keys(earlier) if earlier else ():
            del self._by_key[each][user.id]
        self._users[user.id] = user
        for each in all_keys(user):
            self._by_key[each][user.id] = user
        if len(self._users) > self._most:
            self._forget()

    def _forget(self) -> None:
        self._too_many = True
        self.complete = False
        self._users.clear()
        self._by_key.clear()


def plain(
    way: Sender[CreateEndUserInput, UpsertResult[EndUser]],
) -> Sender[CreateEndUserInput, EndUser]:
    """Return *way* as one that brings end users, and nothing of what was done with them."""

    async def send(bodies: Sequence[CreateEndUserInput]) -> list[Result]:
        return [
            one.value if isinstance(one, UpsertResult) else one for one in await way.send(bodies)
        ]

    return Sender(way.size, way.keys, send)


@define(eq=False, kw_only=True)
class Upserting:
    """Batches of upserts in few requests.

    What an e-mail address or a phone number guards is created first where the last ones were new.
    What else there is to know is asked for one by one, or read from the list of all.
    """

    look: Look
    creating: Creating
    patch: Callable[[Sequence[BulkPatchEndUserInput]], Awaitable[Sequence[Result]]]
    known: Known
    endpoint: str
    guess: FirstTry = field(factory=FirstTry)

    async def upsert(self, bodies: Sequence[CreateEndUserInput]) -> list[Ended]:
        """Return what became of each of *bodies*.

        One whose create had no sure answer, and that was found by looking, is `UpsertEffect.EITHER`.
        """
        results: dict[int, Ended] = {}
        with noting(results):
            await self._go(bodies, results)
        return [results[index] for index in range(len(bodies))]

    async def _go(self, bodies: Sequence[CreateEndUserInput], results: dict[int, Ended]) -> None:
        first = [index for index, body in enumerate(bodies) if self._is_created_first(body)]
        others = sorted({*range(len(bodies))}.difference(first))
        there = await self._look_up(bodies, others, results)
        new = [index for index in range(len(bodies)) if index not in there | results.keys()]
        doubted = await self._create(bodies, new, results) if new else frozenset[int]()
        taken = [index for index in new if self._is_to_be_found(bodies[index], results[index])]
        there |= await self._look_up(bodies, taken, results, raced={*taken}.difference(first))
        for index in range(len(bodies)):
            self.guess.learn(new=index not in there)
        await self._patch(bodies, there, results, doubted)

    def _is_created_first(self, body: CreateEndUserInput) -> bool:
        """Return whether the service itself is to say that *body* is there already.

        It says so of e-mail and phone number; an external id would be there twice.
        """
        return self.guess.new and not self.known.complete and not body.external_id

    async def _create(
        self,
        bodies: Sequence[CreateEndUserInput],
        indexes: Sequence[int],
        results: dict[int, Ended],
    ) -> frozenset[int]:
        """Create those at *indexes*; return which of them only a look has settled."""
        made = await self.creating.created([bodies[index] for index in indexes])
        doubted = frozenset(indexes[place] for place in made.doubted)
        for index, result in zip(indexes, made.results, strict=True):
            did = UpsertEffect.EITHER if index in doubted else UpsertEffect.CREATED
            results[index] = self._noted(result, did)
        return doubted

    async def _look_up(
        self,
        bodies: Sequence[CreateEndUserInput],
        indexes: Sequence[int],
        results: dict[int, Ended],
        raced: AbstractSet[int] = frozenset(),
    ) -> dict[int, EndUser]:
        """Return who is there; what went wrong goes to *results*.

        Those that *results* has were refused as taken, and *raced* are those of them that had
        been looked for: the service itself is asked who has their keys now. A look-up that has no
        answer is the last: the others end in the same.
        """
        there: dict[int, EndUser] = {}
        gone: Exception | None = None
        await self.known.read(len(indexes))
        for index in indexes:
            if gone is not None:
                self._unfound(index, copy(gone), results)
                continue
            looks: list[Look] = (
                [self.known.look] if self.known.complete and index not in raced else []
            )
            if not looks or index in results:
                looks.append(self.look)
            try:
                for look in looks:
                    user = await found(bodies[index], look, endpoint=self.endpoint)
                    if user is not None:
                        there[index] = user
                        break
            except BaseException as error:  # noqa: BLE001 - `to_exception` raises what has to pass
                found_out = to_exception(error, LOOK)
                gone = found_out if isinstance(found_out, GONE) else None
                self._unfound(index, found_out, results)
        return there

    async def _patch(
        self,
        bodies: Sequence[CreateEndUserInput],
        there: Mapping[int, EndUser],
        results: dict[int, Ended],
        doubted: AbstractSet[int],
    ) -> None:
        """Patch who is *there*; of several bodies that lead to one user, in their order.

        Those *doubted* may be there by a create of this upsert.
        """
        now = {user.id: user for user in there.values()}
        waiting = sorted(there)
        while waiting:
            turn: dict[int, BulkPatchEndUserInput] = {}
            later: list[int] = []
            for index in waiting:
                user = now[there[index].id]
                changes = changes_of(bodies[index], user)
                if user.id in {body.id for body in turn.values()}:
                    later.append(index)
                elif changes:
                    turn[index] = BulkPatchEndUserInput(id=user.id, **changes)
                else:
                    did = UpsertEffect.EITHER if index in doubted else UpsertEffect.UNCHANGED
                    results[index] = UpsertResult(user, did)
            patched: Sequence[Result] = await self.patch([*turn.values()]) if turn else ()
            for index, result in zip(turn, patched, strict=True):
                did = UpsertEffect.EITHER if index in doubted else UpsertEffect.UPDATED
                if isinstance(result, Exception) and index in doubted:
                    result = error_after_doubt(result)  # noqa: PLW2901 - by the create, perhaps
                results[index] = self._noted(result, did)
                if isinstance(result, EndUser):
                    now[there[index].id] = result
            waiting = later

    def _is_to_be_found(self, body: CreateEndUserInput, result: Ended) -> bool:
        """Return whether a create ended in *result* that one more look may settle.

        A create with an e-mail address or a phone number has been looked for, if it was in doubt.
        """
        if maybe_applied(result):
            return not (body.email or body.phone_number)
        return is_taken(result)

    def _unfound(self, index: int, error: Exception, results: dict[int, Ended]) -> None:
        """Take down that the look-up for the body at *index* ended in *error*.

        A create that may have been applied stays in doubt.
        """
        if not maybe_applied(results.get(index)):
            results[index] = error

    def _noted(self, result: Result, did: UpsertEffect) -> Ended:
        if not isinstance(result, EndUser):
            return result
        self.known.put(result)
        return UpsertResult(result, did)
