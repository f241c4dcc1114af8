from __future__ import annotations

import pytest

from resilient_sse._core.dedup import Sighting
from resilient_sse._core.sequence import Numbers, Place, integers


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
    assert Numbers(integers).number(event_id) is None


def test_numbers_by_a_function():
    """Any function of the id may tell the number; what it raises besides ValueError is its own affair."""
    sequence = Numbers(lambda event_id: int(event_id.rpartition("-")[2]))
    assert sequence.number("shard-7") == 7
    with pytest.raises(ZeroDivisionError):
        Numbers(lambda event_id: 1 // 0).number("7")


@pytest.mark.parametrize("number", [0, 7, -1, 500])
def test_the_first_number_is_in_its_place(number):
    """A stream may start anywhere."""
    assert Numbers(integers).place(number) is Place.NEXT


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
    sequence = Numbers(integers)
    sequence.advance(5, "5")
    assert sequence.place(number) is place


def test_advancing():
    """The mark keeps the number and its id."""
    sequence = Numbers(integers)
    assert (sequence.high, sequence.high_id) == (None, None)
    sequence.advance(5, "a-5")
    assert (sequence.high, sequence.high_id) == (5, "a-5")


@pytest.mark.parametrize("number, missing", [(7, 1), (9, 3), (10**9 + 6, 10**9), (10**30, None)])
def test_giving_up_a_hole(number, missing):
    """
    What lies before a number ahead is given up at once, however much it is; then the number is due (P22).

    A number of billions is none that could be counted.
    """
    sequence = contiguous(3, 4, 5)
    assert sequence.lose(number) == missing
    assert sequence.place(number) is Place.NEXT
    assert sequence.high_id == "5"


def test_before_the_first_number_nothing_is_missing():
    """A stream that has not begun lacks nothing."""
    sequence = Numbers(integers)
    assert sequence.lose(7) == 0
    assert sequence.place(7) is Place.NEXT


# What is known of numbers that were passed


def contiguous(*numbers: int, window: int = 100) -> Numbers:
    """Make a sequence that has seen *numbers*."""
    sequence = Numbers(integers, window)
    for number in numbers:
        sequence.advance(number, str(number), ("m", f"of {number}"))
    return sequence


@pytest.mark.parametrize("number", [3, 4, 5])
def test_a_replay_is_known_by_its_contents(number):
    """The same number with the same content is a duplicate, with other content a conflict (R150, X17)."""
    sequence = contiguous(3, 4, 5)
    assert sequence.look(number, "m", f"of {number}") is Sighting.DUPLICATE
    assert sequence.look(number, "m", "other") is Sighting.CONFLICT
    assert sequence.look(number, "n", f"of {number}") is Sighting.CONFLICT


@pytest.mark.parametrize("number", [-5, 0, 2, 6, 7])
def test_other_numbers_are_new(number):
    """Neither what was before the stream nor what is to come is known."""
    assert contiguous(3, 4, 5).look(number, "m", f"of {number}") is Sighting.NEW


def test_before_the_first_number_everything_is_new():
    """A stream that has not begun knows nothing."""
    assert Numbers(integers).look(5, "m", "a") is Sighting.NEW


@pytest.mark.parametrize("window", [1, 2, 5])
def test_only_the_last_numbers_are_known(window):
    """The memory is bounded (X17)."""
    sequence = contiguous(*range(20), window=window)
    known = [n for n in range(20) if sequence.look(n, "m", f"of {n}") is not Sighting.NEW]
    assert known == list(range(20 - window, 20))


def test_numbers_without_content_are_new():
    """A heartbeat's number, or that of an id alone, says nothing about an event."""
    sequence = contiguous(3)
    sequence.advance(4, "4")
    sequence.advance(5, "5", ("m", "of 5"))
    assert sequence.look(4, "m", "") is Sighting.NEW
    assert sequence.look(3, "m", "of 3") is Sighting.DUPLICATE


def test_numbers_of_a_reported_hole_are_known():
    """What was reported as lost is passed, whatever it says if it comes after all; its neighbours are not."""
    sequence = contiguous(3)
    sequence.lose(7)
    sequence.advance(7, "7", ("m", "of 7"))
    assert [n for n in range(2, 9) if sequence.reported(n)] == [4, 5, 6]
    known = [n for n in range(2, 9) if sequence.look(n, "m", f"of {n}") is Sighting.DUPLICATE]
    assert known == [3, 7]
    assert sequence.look(3, "m", "other") is Sighting.CONFLICT
    assert sequence.look(7, "m", "other") is Sighting.CONFLICT


def test_a_hole_larger_than_the_memory():
    """What came before it is forgotten, what comes after it is known."""
    sequence = contiguous(3, window=4)
    sequence.lose(1000)
    sequence.advance(1000, "1000", ("m", "of 1000"))
    assert sequence.look(3, "m", "of 3") is Sighting.NEW
    assert sequence.look(1000, "m", "of 1000") is Sighting.DUPLICATE
    assert sequence.reported(999)


@pytest.mark.parametrize("length, forgotten", [(3, [2]), (20, [2, 3, 17])])
def test_numbers_that_were_forgotten(length, forgotten):
    """They lie before the first number or the window; what is remembered or yet to come is not among them."""
    sequence = contiguous(*range(3, 3 + length), window=5)
    assert [n for n in (2, 3, 17, 18, 22, 23) if sequence.forgotten(n)] == forgotten


@pytest.mark.parametrize("window", [1, 5])
def test_the_beginning_is_known_for_good(window):
    """16 events of it tell a replay of all there is from a new numbering, however long the stream is (3.2)."""
    sequence = contiguous(*range(3, 1000), window=window)
    at_beginning = [
        n for n in range(1000) if sequence.look_at_beginning(n, "m", f"of {n}") is Sighting.DUPLICATE
    ]
    assert at_beginning == list(range(3, 19))
    assert sequence.look_at_beginning(3, "m", "other") is Sighting.CONFLICT
    assert sequence.look(3, "m", "of 3") is Sighting.NEW
    assert sequence.restarted().look_at_beginning(3, "m", "of 3") is Sighting.NEW


def test_a_beginning_of_events_that_are_alike_proves_nothing():
    """A new numbering would have the same."""
    sequence = Numbers(integers, 5)
    for number in range(100):
        sequence.advance(number, str(number), ("m", str(number % 8)))
    assert sequence.look_at_beginning(1, "m", "1") is Sighting.NEW
    assert sequence.look_at_beginning(1, "m", "2") is Sighting.CONFLICT


def test_resuming():
    """A stored number is the last contiguous one, and seen, whatever its content."""
    sequence = Numbers(integers)
    sequence.resume_from(19, "19")
    assert (sequence.high, sequence.high_id) == (19, "19")
    assert sequence.place(20) is Place.NEXT
    assert sequence.look(19, "m", "whatever") is Sighting.DUPLICATE
    assert sequence.look(18, "m", "whatever") is Sighting.NEW


def test_a_resumed_number_stays_known():
    """A later replay that begins too early may bring it again."""
    sequence = Numbers(integers, 10)
    sequence.resume_from(19, "19")
    sequence.advance(20, "20", ("m", "a"))
    assert sequence.look(19, "m", "whatever") is Sighting.DUPLICATE


@pytest.mark.parametrize("window", [1, 2, 5])
def test_a_resumed_number_leaves_the_window_in_its_turn(window):
    """It is forgotten when as many events have come as the window holds (X17)."""
    sequence = Numbers(integers, window)
    sequence.resume_from(19, "19")
    for number in range(20, 20 + window):
        assert sequence.look(19, "m", "whatever") is Sighting.DUPLICATE
        sequence.advance(number, str(number), ("m", "a"))
    assert sequence.look(19, "m", "whatever") is Sighting.NEW


def test_starting_anew():
    """A new numbering knows nothing of the old one but how to read its ids (P23)."""
    sequence = contiguous(3, 4, 5, window=2)
    sequence.lose(9)
    anew = sequence.restarted()
    assert anew.numbering is sequence.numbering
    assert (anew.high, anew.high_id) == (None, None)
    assert anew.place(1) is Place.NEXT
    for number in (3, 4, 5, 6):
        anew.advance(number, str(number), ("m", "new"))
    sightings = [anew.look(n, "m", "new") for n in (4, 5, 6)]
    assert sightings == [Sighting.NEW, Sighting.DUPLICATE, Sighting.DUPLICATE]
