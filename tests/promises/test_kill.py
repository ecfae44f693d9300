"""Imports that are killed: no row is lost, no user made twice, and the journal says what is so."""

import json
import resource
import signal
import time
from pathlib import Path
from random import Random

import pytest
from attrs import evolve
from killing import SUNSHINE, Importing, emulator, ended, judged, play, wait_until
from support.forking import REAL, Command
from support.size import sized

pytestmark = pytest.mark.waits

CALM = ("--latency", "0.02")
ROWS = sized(1500, 300)


KILLS = {
    "sunshine create": 4,
    "sunshine create without a key": 2,
    "sunshine update": 2,
    "sunshine delete": 2,
    "smooch upsert": 3,
    "dixa create": 3,
    "dixa upsert by external id": 3,
    "dixa update": 1,
}
"""Twenty in all."""

IN_DOUBT = ("dixa upsert by external id",)
"""Where a row that had begun is unknown if it isn't there."""

MISHAPS = (
    {"status": 503, "when": "before"},
    {"status": 502, "when": "after"},
    {"reset": True, "when": "before"},
    {"reset": True, "when": "after"},
    {"cut": True},
)
"""What every start meets. No 429s: at random, without end, they would make it slow."""


@pytest.mark.costly
@pytest.mark.parametrize("scene", KILLS)
def test_killed_again_and_again(tmp_path: Path, forked: Command, scene: str) -> None:
    """Killed at random, and run again until it ends, an import has done each row exactly once."""
    mishaps = () if scene in IN_DOUBT else MISHAPS
    played = play(
        scene, tmp_path, sized(KILLS[scene], 1), ROWS, Random(scene), *CALM, mishaps=mishaps,
        command=forked,
    )  # fmt: skip
    said, ledger = played.said, played.ledger
    assert played.verdict.right, played
    assert played.kills
    assert said["done"] + said["unknown"] == ROWS
    in_doubt = (200 if scene in IN_DOUBT else 64) * (played.kills + 1) + ROWS // 10
    guarded = "without a key" not in scene and scene not in IN_DOUBT
    assert said["unknown"] <= (0 if guarded else in_doubt)
    if "create" in scene or "upsert" in scene:
        assert ledger["effects"]["create"] == ledger["users"]


@pytest.mark.slow
def test_the_service_goes_and_comes_back(tmp_path: Path, forked: Command) -> None:
    """The emulator killed and started again in mid-run: the import waits, and all rows are done."""
    rows = SUNSHINE.people(ROWS)
    with emulator(tmp_path, "--latency", "0.4", command=forked) as there:
        job = Importing(tmp_path, there.base_url, "create", rows, command=sized(REAL, forked))
        process = job.start()
        wait_until(lambda: len(there.users()) >= ROWS // 4, there, process)
        before = len(there.users())
        there.kill()
        assert process.poll() is None
        time.sleep(1.0)
        there.start()
        said, noted = ended(process, there)
        verdict = judged(job, there)
    assert process.returncode == 0, noted
    assert json.loads(said)["done"] == ROWS
    assert 0 < before < ROWS
    assert verdict.right, verdict


def test_a_disk_that_fills(tmp_path: Path, forked: Command) -> None:
    """A journal that can't grow stops the import in order; with room again it ends, exactly once."""
    number, limit = sized((1500, 220_000), (600, 130_000))
    rows = SUNSHINE.people(number)

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with emulator(tmp_path, "--latency", "0.002", command=forked) as there:
        job = Importing(tmp_path, there.base_url, "create", rows, command=forked)
        process = job.start(preexec_fn=little_room)
        said, noted = ended(process, there)
        assert process.returncode == 3, (said, noted)
        assert "disk is full" in json.loads(said)["reason"]
        assert 0 < len(there.users()) < number
        killed, said_then = job.killed(0, Random(1), there)
        verdict = judged(job, there)
        ledger = there.ledger()["sunshine"]
    assert (killed, said_then["done"]) == (0, number)
    assert verdict.right, verdict
    assert ledger["effects"]["create"] == number


@pytest.mark.slow
def test_interrupted(tmp_path: Path, forked: Command) -> None:
    """SIGTERM ends it in order, with all in the journal; a second process is refused meanwhile."""
    number, begun, rate = sized((900, 100, 150), (200, 30, 100))
    with emulator(tmp_path, "--latency", "0.01", command=forked) as there:
        options = ("--rate", str(rate))
        job = Importing(tmp_path, there.base_url, "create", SUNSHINE.people(number), options)
        process = job.start()
        wait_until(lambda: len(there.users()) >= begun, there, process)
        process.send_signal(signal.SIGSTOP)  # the first job waits, however long the second takes
        other = evolve(job, command=forked)
        second = other.start()
        said, noted = ended(second, there)
        process.send_signal(signal.SIGCONT)
        assert (second.returncode, said) == (2, "")
        assert "is in use by another process" in noted
        process.terminate()
        said, noted = ended(process, there)
        assert process.returncode == 143, noted
        first = json.loads(said)
        assert first["done"] + first["waiting"] == number
        assert first["waiting"]
        _, last = other.killed(0, Random(1), there)
        assert last["done"] == number
        assert judged(job, there).right
        assert there.ledger()["requests"] == number
