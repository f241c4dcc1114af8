import pytest

from resilient_sse._core.cursor import CursorReader


def reader(position: str = "") -> CursorReader:
    """Make a reader that stands at a position."""
    made = CursorReader(lambda event: event.id, window=3)
    made.moved(position)
    return made


@pytest.mark.parametrize(
    "before, position", [("10", "9"), ("run/10", "run/9"), ("0_000010", "0_000009"), ("a-1-10", "a-1-9")]
)
def test_numbers_at_the_end_are_compared(before, position):
    """P61: positions that begin alike are as old as their numbers, whatever their length."""
    assert reader(before).falls_back(position) == before
    assert reader(position).falls_back(before) is None


@pytest.mark.parametrize(
    "before, position",
    [
        pytest.param("", "1", id="none"),
        pytest.param("9", "9", id="the-same"),
        pytest.param("c", "b", id="opaque"),
        pytest.param("a7", "a6", id="hexadecimal"),
        pytest.param("run-2/1", "run-1/7", id="another-run"),
        pytest.param("9" * 50, "8" * 50, id="no-number-that-counts"),
    ],
)
def test_what_cannot_be_compared_is_no_loss(before, position):
    """P61: nothing is said where nothing tells that a position is older."""
    assert reader(before).falls_back(position) is None
