"""Broadcasts that are killed: no message twice, none lost, and unknown only what can't be told."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import anyio
import pytest
from attrs import evolve
from killing import Importing, emulator
from support.clients import sunshine
from support.forking import REAL, Command
from support.size import sized

from sunshine_async import Retry, SunshineClient, SunshineError
from sunshine_async.journal import State
from sunshine_async.sunshine import ConversationCreateBody, ParticipantJoinBody, TextMessage

BROADCASTS = range(sized(5, 1))
ROWS = sized(800, 80)
KILLS = sized(10, 1)
"""Kills of a broadcast: each start waits 5 seconds before a look-up, in a full run once for real."""
USERS = sized(50, 8)
CALM = ("--latency", "0.05")
MISHAPS = 3 * (
    {"status": 503, "when": "before"},
    {"status": 502, "when": "after"},
    {"reset": True, "when": "before"},
    {"reset": True, "when": "after"},
    {"cut": True},
)
"""What every start meets. No 429s: at random, without end, they would make it slow."""
NOT_FOUND = "UnsettledError"
"""Code of a row that a look-up didn't find."""


async def own_conversation(client: SunshineClient, user: str) -> str:
    """Return the id of the user's own conversation, whatever the faults."""
    participants = [ParticipantJoinBody(user_external_id=user)]
    while True:
        with suppress(SunshineError):
            body = ConversationCreateBody(type="personal", participants=participants)
            return (await client.conversations.get_or_create(body)).id


def client_of(base_url: str) -> SunshineClient:
    """Return a client that outlasts the faults."""
    return sunshine(None, base_url=base_url, retry=Retry(max_attempts=50, first_wait=0.01))


async def rows_of(base_url: str, users: Sequence[str]) -> list[dict[str, Any]]:
    """Return rows by conversation for half of the users, and by user for the others."""
    async with client_of(base_url) as client:
        known = {user: await own_conversation(client, user) for user in users[::2]}
    where = [
        {"conversationId": known[user]} if user in known else {"externalId": user} for user in users
    ]
    return [{**where[n % len(users)], "text": str(n)} for n in range(1, ROWS + 1)]


async def numbers_there(base_url: str, users: Sequence[str]) -> Mapping[str, list[int]]:
    """Return the numbers in the texts of each conversation of *users*, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    async with client_of(base_url) as client:
        for user in users:
            async for conversation in client.conversations.list(user_external_id=user):
                pages = [page async for page in client.messages.list(conversation.id).pages()]
                for message in (one for page in reversed(pages) for one in page.items):
                    assert isinstance(message.content, TextMessage)
                    found[conversation.id].append(int(message.content.text or ""))
    return found


@pytest.mark.slow
@pytest.mark.waits
@pytest.mark.costly
@pytest.mark.parametrize("seed", BROADCASTS)
def test_a_broadcast_killed_again_and_again(tmp_path: Path, forked: Command, seed: int) -> None:
    """Each row is done and there once, or unknown; what a look-up didn't find isn't there."""
    users = [f"user-{n}" for n in range(USERS)]
    random = Random(seed)
    with emulator(tmp_path, *CALM, command=forked) as there:
        there.add([{"externalId": user} for user in users])
        rows = anyio.run(rows_of, there.base_url, users)
        is_real = sized(seed == 0, small=False)
        job = Importing(
            tmp_path, there.base_url, "message", rows, none_more=8.0 if is_real else 3.0,
            command=REAL if is_real else forked, instant=not is_real,
        )  # fmt: skip

        kills, said = job.killed(KILLS, random, there, MISHAPS)
        states, found = job.states(), anyio.run(numbers_there, there.base_url, users)
        again = evolve(job, options=("--retry-unknown",))
        _, then = again.killed(0, random, there)
        found_then = anyio.run(numbers_there, there.base_url, users)

    assert kills == KILLS
    assert said["done"] + said["unknown"] == len(states) == ROWS
    numbers = [number for each in found.values() for number in each]
    assert len(numbers) == len(set(numbers))
    assert all(before < after for each in found.values() for before, after in pairwise(each))
    done = {line for line, row in states.items() if row["state"] == State.DONE}
    assert done <= set(numbers)
    not_found = {line for line, row in states.items() if row["code"] == NOT_FOUND}
    assert not not_found & set(numbers)
    unknown = {line for line, row in states.items() if row["state"] == State.UNKNOWN}
    assert done | unknown == set(states)
    assert len(unknown) <= 64 * (kills + 1)
    assert said["done"] > ROWS // 4
    # unknown rows are sent again on request, and still none is there twice
    after = [number for each in found_then.values() for number in each]
    assert len(after) == len(set(after)) == then["done"] + len(set(after) & unknown_in(again))
    assert then["done"] >= said["done"]


def unknown_in(job: Importing) -> set[int]:
    """Return the lines of the rows that are unknown."""
    return {line for line, row in job.states().items() if row["state"] == State.UNKNOWN}
