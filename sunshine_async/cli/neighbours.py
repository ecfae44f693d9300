"""The other services in the demonstration: the same users by v1.1, and a batch for Dixa."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from sunshine_async import (
    ApiToken,
    BasicAuth,
    DixaClient,
    Pace,
    Retry,
    SmoochClient,
    bulk,
)
from sunshine_async.dixa import CreateEndUserInput

_RETRY: Final = Retry(first_wait=0.1)
_PACE: Final = Pace(max_in_flight=8)  # the emulator isn't held to the service's rate


@frozen
class Neighbours:
    """What became of the calls to the other services."""

    asked: int
    found: int
    """Of the users *asked* for by v1.1, those that are there."""
    sent: int
    created: int
    unknown: int
    """Of the users *sent* to Dixa, those created for sure, and those that nobody can tell of."""
    requests: int
    """What that took."""


async def visit(base_url: str, keys: Sequence[str], users: int) -> Neighbours:
    """Read *keys* by v1.1, and create *users* at Dixa, on the emulator at *base_url*."""
    async with SmoochClient(
        "demo", auth=BasicAuth("demo", "demo"), base_url=base_url, retry=_RETRY
    ) as smooch:
        read = await bulk.collect(smooch.app_users.get, keys)
    bodies = (CreateEndUserInput(email=f"user-{number}@example.org") for number in range(users))
    kinds: Counter[type] = Counter()
    async with (
        DixaClient(auth=ApiToken("demo"), base_url=base_url, retry=_RETRY, pace=_PACE) as dixa,
        dixa.end_users.create_many(bodies) as outcomes,
    ):
        async for outcome in outcomes:
            kinds[type(outcome)] += 1
        requests = dixa.tally.requests
    return Neighbours(
        asked=len(keys),
        found=sum(isinstance(one, bulk.Done) for one in read),
        sent=users,
        created=kinds[bulk.Done],
        unknown=kinds[bulk.Unknown],
        requests=requests,
    )
