from __future__ import annotations

import pytest

from resilient_sse._core.sequence import Place, Sequence, integers


@pytest.mark.parametrize(
    "event_id, number",
    [("0", 0), ("7", 7), ("-1", -1), ("007", 7), ("9" * 40, int("9" * 40)), ("-" + "9" * 39, -int("9" * 39))],
)
def test_integers(event_id, number):
    """Decimal integers number their events (X14, R148)."""
    assert integers(event_id) == number


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        "-",
        "--1",
        "+1",
        "1.0",
        "1e3",
        "0x10",
        " 1",
        "1 ",
        "1_000",
        "a",
        "٣",
        "²",
        "9" * 41,
        "-" + "9" * 40,
    ],
)
def test_ids_that_are_no_integers(event_id):
    """What int() would generously accept is no number here, and neither is one of absurd length (X14)."""
    with pytest.raises(ValueError, match="not an integer id"):
        integers(event_id)


def test_a_hostile_id_is_not_repeated_at_length():
    """The complaint quotes the start of the id only."""
    with pytest.raises(ValueError, match="not an integer id") as caught:
        integers("9" * 100_000)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("event_id", [None, "", "opaque"])
def test_events_without_a_number(event_id):
    """No id, a cleared id and an opaque one take no part in the checks."""
    assert Sequence(integers).number(event_id) is None


def test_numbers_by_a_function():
    """Any function of the id may tell the number; what it raises besides ValueError is its own affair."""
    sequence = Sequence(lambda event_id: int(event_id.rpartition("-")[2]))
    assert sequence.number("shard-7") == 7
    with pytest.raises(ZeroDivisionError):
        Sequence(lambda event_id: 1 // 0).number("7")


@pytest.mark.parametrize("number", [0, 7, -1, 500])
def test_the_first_number_is_in_its_place(number):
    """A stream may start anywhere."""
    assert Sequence(integers).place(number) is Place.NEXT


@pytest.mark.parametrize(
    "number, place",
    [
        (6, Place.NEXT),
        (7, Place.AHEAD),
        (500, Place.AHEAD),
        (5, Place.BEHIND),
        (4, Place.BEHIND),
        (-1, Place.BEHIND),
    ],
)
def test_places(number, place):
    """After 5 comes 6; more is ahead, and what was there already is behind (R140)."""
    sequence = Sequence(integers)
    sequence.advance(5, "5")
    assert sequence.place(number) is place


def test_advancing():
    """The mark keeps the number and its id, and may be set back."""
    sequence = Sequence(integers)
    assert (sequence.high, sequence.high_id) == (None, None)
    sequence.advance(5, "a-5")
    assert (sequence.high, sequence.high_id) == (5, "a-5")
    sequence.advance(1, "b-1")
    assert (sequence.high, sequence.high_id) == (1, "b-1")


@pytest.mark.parametrize("number, missing", [(6, 0), (7, 1), (9, 3), (5, 0), (1, 0)])
def test_what_is_missing(number, missing):
    """A number ahead lacks those between; others lack nothing (P22)."""
    sequence = Sequence(integers)
    assert sequence.missing_before(number) == 0
    sequence.advance(5, "5")
    assert sequence.missing_before(number) == missing
