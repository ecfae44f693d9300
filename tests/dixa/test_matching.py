"""Answers given to items: by what names them, and by position only where that is sure."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sunshine_async._codec import structure
from sunshine_async.dixa import (
    BulkActionFailure,
    BulkActionSuccess,
    BulkPatchEndUserInput,
    CreateEndUserInput,
    EndUser,
    ErrorResponse,
    Outcome,
    UnknownOutcome,
    Validation,
)
from sunshine_async.dixa.matching import (
    differences,
    has_readable_keys,
    holds,
    match_changes,
    match_creates,
    may_hold,
    unique_keys,
)


def made(id_: str = "u", **fields: Any) -> BulkActionSuccess:
    """Return a success."""
    return BulkActionSuccess(data=EndUser(id=id_, **fields))


def failed(id_: str | None = None) -> BulkActionFailure:
    """Return a failure."""
    return BulkActionFailure(error=Validation(id=id_, message="no"))


def new(**fields: Any) -> CreateEndUserInput:
    """Return the body of a create."""
    return CreateEndUserInput(**fields)


class TestComparing:
    """Comparison of values."""

    @pytest.mark.parametrize(
        ("sent", "there"),
        [
            ({"email": "Jane@X.org "}, {"email": "jane@x.org"}),
            ({"phone_number": "+45 12-34 (56)"}, {"phone_number": "+45123456"}),
            ({"first_name": ""}, {}),
            ({"first_name": None}, {}),
            ({"middle_names": []}, {}),
            ({"additional_emails": ["b@x", "a@x"]}, {"additional_emails": ["A@x", "b@x"]}),
            ({"additional_phone_numbers": None}, {"additional_phone_numbers": []}),
            ({}, {"email": "jane@x.org"}),
        ],
    )
    def test_how_it_is_written_is_no_difference(self, sent: Any, there: Any) -> None:
        """Case of addresses, blanks in numbers, empty and absent are no difference."""
        assert differences(new(**sent), EndUser(id="u", **there)) == {}

    @pytest.mark.parametrize(
        "sent",
        [
            {"email": "b@x"},
            {"phone_number": "+1"},
            {"first_name": "b"},
            {"middle_names": ["b", "a"]},
            {"additional_emails": ["a@x"]},
            {"external_id": "B"},
            {"email": None},
            {"avatar_url": "http://a"},
        ],
    )
    def test_a_difference_is_what_was_sent(self, sent: Any) -> None:
        """A different value comes out as sent."""
        there = EndUser(
            id="u", email="a@x", first_name="a", middle_names=["a", "b"], external_id="b"
        )

        assert differences(new(**sent), there) == sent
        assert holds(there, new(**sent)) is ("avatar_url" in sent)

    @pytest.mark.parametrize("raw", [True, {"a": 1}, [5], ["a@x", None], 2.0**60])
    @pytest.mark.parametrize(
        "wire", ["externalId", "email", "phoneNumber", "firstName", "additionalEmails"]
    )
    def test_a_value_that_cannot_be_read_is_not_absent(self, wire: str, raw: object) -> None:
        """A misread field differs from every value that is sent, from null too."""
        name = {"externalId": "external_id", "phoneNumber": "phone_number"}.get(wire) or {
            "firstName": "first_name", "additionalEmails": "additional_emails",
        }.get(wire, wire)  # fmt: skip
        value: Any = ["a@x"] if name == "additional_emails" else "a@x"
        user = structure({"id": "u", wire: raw, "lastName": "L"}, EndUser)

        for sent in (value, None):
            assert differences(new(**{name: sent}), user) == {name: sent}
            assert not holds(user, new(**{name: sent}))
            assert may_hold(user, new(**{name: sent}))
            assert not may_hold(user, new(**{name: sent}, last_name="M"))
        assert holds(user, new(last_name="L"))
        assert has_readable_keys(user) is (name == "first_name")

    def test_a_numeric_external_id_is_its_text(self) -> None:
        """An external id that came as a number is the text that was sent."""
        user = structure({"id": "u", "externalId": 5}, EndUser)

        assert differences(new(external_id="5"), user) == {}
        assert differences(new(external_id="6"), user) == {"external_id": "6"}
        assert has_readable_keys(user)

    def test_what_only_one_may_have(self) -> None:
        """Id, addresses and numbers are one's own; an external id isn't."""
        body = BulkPatchEndUserInput(
            id="ABC", email="a@x", additional_phone_numbers=["+1", "+1"], external_id="x"
        )

        assert unique_keys(body) == {("id", "abc"), ("email", "a@x"), ("phone_number", "+1")}


class TestCreates:
    """Successes go by their keys, failures by positions that can be trusted."""

    def test_numbers_are_keys(self) -> None:
        """Successes whose external ids came as numbers are found by them, in any order."""
        sent = [new(external_id="1"), new(external_id="2")]
        answer: list[Outcome] = [
            BulkActionSuccess(data=structure({"id": f"u{n}", "externalId": n}, EndUser))
            for n in (2, 1)
        ]

        assert match_creates(sent, answer) == answer[::-1]

    @pytest.mark.parametrize("wire", ["externalId", "email", "phoneNumber"])
    def test_a_success_with_an_unreadable_key_is_nobodys(self, wire: str) -> None:
        """A success that may have another key than the item in its place isn't surely its own."""
        sent = [new(last_name="L"), new(last_name="L")]
        odd = BulkActionSuccess(
            data=structure({"id": "u", "lastName": "L", wire: {"a": 1}}, EndUser)
        )

        assert match_creates(sent, [odd, made("v", last_name="L")]) == [None, None]

    def test_keys_go_before_positions(self) -> None:
        """Successes in another order are found by e-mail, phone number or external id."""
        sent = [new(email="a@x"), new(phone_number="+1"), new(external_id="c")]
        answer: list[Outcome] = [
            made("3", external_id="c"), made("1", email="A@x"), made("2", phone_number="+1"),
        ]  # fmt: skip

        assert match_creates(sent, answer) == [answer[1], answer[2], answer[0]]

    def test_failures_go_by_position(self) -> None:
        """Where all successes stand where they belong, failures are given by position."""
        sent = [new(email="a@x"), new(email="b@x"), new(first_name="C")]
        answer: list[Outcome] = [made("1", email="a@x"), failed("9"), made("3", first_name="C")]

        assert match_creates(sent, answer) == answer

    @pytest.mark.parametrize(
        "answer",
        [
            [failed("9"), made("1", email="a@x"), made("3", first_name="C")],
            [made("1", email="a@x"), failed("9")],
            [made("1", email="a@x"), failed("9"), failed("9")],
            [made("1", email="a@x"), failed("9"), made("3", first_name="X")],
            [made("1", email="a@x"), failed("9"), made("3", email="c@x")],
            [made("1", email="a@x"), failed("9"), made("3", first_name="C"), failed("8")],
        ],
        ids=["moved", "short", "twice", "of another", "with a strange key", "long"],
    )
    def test_a_position_in_doubt_says_nothing(self, answer: list[Outcome]) -> None:
        """Where anything is amiss, only what names itself counts."""
        sent = [new(email="a@x"), new(email="b@x"), new(first_name="C")]

        first, *others = match_creates(sent, answer)

        assert isinstance(first, BulkActionSuccess)
        assert others == [None, None]

    def test_a_success_without_a_key_is_not_taken_for_one_with(self) -> None:
        """A success that lacks the e-mail of the item at its place is another's."""
        sent = [new(first_name="A"), new(email="b@x")]

        assert match_creates(sent, [failed("9"), made("1", first_name="A")]) == [None, None]

    def test_an_external_id_that_several_have_names_none(self) -> None:
        """Items with one external id are told apart by all that they say."""
        sent = [new(external_id="x", first_name="A"), new(external_id="x", first_name="B")]
        right: list[Outcome] = [
            made("1", external_id="x", first_name="A"), made("2", external_id="x", first_name="B"),
        ]  # fmt: skip

        assert match_creates(sent, right) == right
        assert match_creates(sent, [right[1], failed("9")]) == [None, None]

    def test_an_external_id_with_a_strange_address_names_none(self) -> None:
        """An external id counts only where nothing personal is there that says otherwise."""
        answer = [made("1", external_id="x", email="other@x"), failed("9")]

        assert match_creates([new(external_id="x"), new(email="b@x")], answer) == [None, None]
        assert match_creates([new(external_id="x", email="a@x")], [made("1", external_id="x")]) == [
            None
        ]

    def test_keys_of_two_items_name_none(self) -> None:
        """A success with the e-mail of one item and the number of another is nobody's."""
        sent = [new(email="a@x"), new(phone_number="+1")]

        assert match_creates(sent, [made("1", email="a@x", phone_number="+1")]) == [None, None]


class TestChanges:
    """Outcomes go by id."""

    SENT = (BulkPatchEndUserInput(id="A"), BulkPatchEndUserInput(id="b"))

    def test_ids_go_before_positions(self) -> None:
        """Successes and failures are found by their ids, in any order and case."""
        answer: list[Outcome] = [failed("B"), made("a")]

        assert match_changes(self.SENT, answer) == [answer[1], answer[0]]

    def test_an_outcome_without_an_id_goes_by_position(self) -> None:
        """One without an id is taken by position if the others stand where they belong."""
        nameless = BulkActionFailure(error=ErrorResponse(message="no"))
        new_kind = UnknownOutcome(type="New", extra={"x": 1})

        assert match_changes(self.SENT, [made("a"), nameless]) == [made("a"), nameless]
        assert match_changes(self.SENT, [new_kind, made("b")]) == [new_kind, made("b")]
        assert match_changes(self.SENT, [nameless, made("a")]) == [made("a"), None]
        assert match_changes(self.SENT, [made("a"), nameless, nameless]) == [made("a"), None]

    def test_contradictions_say_nothing(self) -> None:
        """An id with a success and a failure leaves it open; the same twice doesn't."""
        assert match_changes(self.SENT, [made("a"), failed("a"), made("b")]) == [None, made("b")]
        assert match_changes(self.SENT, [made("a"), made("a"), failed("z")]) == [made("a"), None]

    def test_an_unknown_outcome_may_have_an_id(self) -> None:
        """A kind that came later is found by its id too, if it has one."""
        outcome = UnknownOutcome(type="New", extra={"id": "b"})

        assert match_changes(self.SENT, [outcome, made("a")]) == [made("a"), outcome]
        odd = UnknownOutcome(type="New", extra={"id": 5})
        assert match_changes(self.SENT, [odd]) == [None, None]


BODIES = st.lists(
    st.builds(
        CreateEndUserInput,
        email=st.sampled_from([None, "a@x", "b@x", "c@x"]),
        phone_number=st.sampled_from([None, "+1", "+2"]),
        external_id=st.sampled_from([None, "x", "y"]),
    ),
    max_size=5,
)
ANSWERS = st.lists(
    st.builds(
        made,
        st.sampled_from("1234"),
        email=st.sampled_from([None, "a@x", "b@x", "z@x"]),
        phone_number=st.sampled_from([None, "+1", "+9"]),
        external_id=st.sampled_from([None, "x", "z"]),
    )
    | st.builds(failed, st.sampled_from([None, "1", "9"]))
    | st.builds(UnknownOutcome, type=st.just("New")),
    max_size=6,
)


@given(sent=BODIES, answer=ANSWERS)
def test_no_answer_breaks_the_matching(
    sent: list[CreateEndUserInput], answer: list[Outcome]
) -> None:
    """Whatever comes, each item has one outcome of the answer or none, each outcome one item."""
    found = match_creates(sent, answer)

    assert len(found) == len(sent)
    given_ = [id(one) for one in found if one is not None]
    assert len(set(given_)) == len(given_)
    assert set(given_) <= {id(one) for one in answer}


@given(order=st.permutations(range(4)))
def test_the_order_of_successes_is_nothing(order: list[int]) -> None:
    """Successes that name themselves are found in any order."""
    sent = [new(email=f"{n}@x") for n in range(4)]
    outcomes: list[Outcome] = [made(str(n), email=f"{n}@x") for n in range(4)]

    assert match_creates(sent, [outcomes[n] for n in order]) == outcomes
