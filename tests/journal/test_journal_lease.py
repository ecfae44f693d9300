"""The lease of a journal: valid after a renewal, expired without, and lost for good."""

from threading import Event

import pytest
from attrs import define, field
from support.patience import PATIENCE

from sunshine_async.journal import JournalLease, LeaseState
from sunshine_async.journal.lease import now


@define
class Store:
    """A store of leases: *answers* are given in turn; the last answer is given again and again."""

    answers: list[bool | Exception]
    asked: Event = field(factory=Event)
    """Set once all answers but the last were given."""
    answering: Event = field(factory=Event)
    """Set: answers are given."""

    def __attrs_post_init__(self) -> None:
        self.answering.set()

    def renew(self) -> bool:
        self.answering.wait(PATIENCE)
        answer = self.answers[0]
        if len(self.answers) > 1:
            del self.answers[0]
        else:
            self.asked.set()
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("age", "state"),
    [(0.0, LeaseState.VALID), (99.0, LeaseState.EXPIRED), (999.0, LeaseState.LOST)],
)
def test_a_lease_that_is_not_renewed(age: float, state: LeaseState) -> None:
    """Without a renewal a lease expires, and is lost once the patience has ended too."""
    store = Store([False])
    lease = JournalLease(50.0, store.renew, since=now() - age)
    assert lease.state is state
    lease.end()


@pytest.mark.parametrize(
    ("age", "hurried", "is_silent", "is_overdue"),
    [
        (0.0, True, False, False),
        (99.0, False, False, True),
        (99.0, True, True, True),
        (999.0, False, True, True),
    ],
)
def test_a_database_without_an_answer(
    age: float, *, hurried: bool, is_silent: bool, is_overdue: bool
) -> None:
    """A wait ends once the lease has expired and nobody wants to wait longer; a renewal's earlier."""
    lease = JournalLease(50.0, Store([False]).renew, since=now() - age)
    if hurried:
        lease.hurry(-1.0)
    assert (lease.is_silent(), lease.is_overdue()) == (is_silent, is_overdue)
    lease.end()
    assert lease.is_overdue()


def test_renewals_go_on() -> None:
    """An error of any kind renews nothing and ends nothing: the next renewal counts."""
    store = Store([ConnectionError("away"), RuntimeError("?"), True, True])
    store.answering.clear()
    lease = JournalLease(0.01, store.renew, since=now() - 60.0)
    assert lease.state is LeaseState.EXPIRED
    store.answering.set()
    assert store.asked.wait(PATIENCE)
    lease.end()
    assert lease.state is not LeaseState.LOST
    assert lease._answered_at > now() - 60.0


def test_a_lease_of_another_owner_is_lost() -> None:
    """Once another owner has the lease no renewal brings the lease back."""
    store = Store([False, True])
    lease = JournalLease(0.01, store.renew, since=now())
    assert store.asked.wait(PATIENCE)
    lease.end()
    assert lease.state is LeaseState.LOST


def test_renewals_end_with_the_owner_s_object() -> None:
    """Nobody renews the lease of an object that is gone: another process gets the journal."""
    store = Store([True])
    lease = JournalLease(0.01, store.renew, since=now())
    assert store.asked.wait(PATIENCE)
    del store
    lease._thread.join(PATIENCE)
    assert not lease._thread.is_alive()
