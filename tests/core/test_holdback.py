from __future__ import annotations

from collections import deque

import pytest

from resilient_sse._core.events import Comment
from resilient_sse._core.holdback import Holdback
from resilient_sse._core.parser import Block


def number(item) -> int | None:
    """Number blocks by their ids."""
    return int(item.id) if isinstance(item, Block) and item.id is not None else None


def blocks(*numbers: int) -> deque:
    """Make blocks."""
    return deque(Block(data="", id=str(n)) for n in numbers)


def numbers(items) -> list:
    """Show blocks by their numbers and comments by their texts."""
    return [item.text if isinstance(item, Comment) else number(item) for item in items]


def held(*runs: deque) -> Holdback:
    """Hold several runs, each of the connection of its turn."""
    holdback = Holdback(number)
    for connection, run in enumerate(runs, start=1):
        holdback.hold(run, connection)
    return holdback


def test_nothing_is_held_at_first():
    """An empty holdback is false and gives nothing back."""
    holdback = Holdback(number)
    assert not holdback
    assert list(holdback.release()) == []
    assert holdback.due(None, None) is None


def test_a_run_is_given_back_as_it_came():
    """Order is kept, and the run is copied: what the caller does with its own does not matter."""
    run = blocks(4, 5, 6)
    run.insert(1, Comment("a"))
    holdback = held(run)
    run.clear()
    assert holdback
    assert holdback.connection == 1
    assert numbers(holdback.release()) == [4, "a", 5, 6]
    assert not holdback


def test_runs_are_merged_by_number():
    """What a second connection brought is put in its place; unnumbered items stay behind their block."""
    first = blocks(8, 9)
    first.append(Comment("behind 9"))
    second = blocks(5)
    second.append(Comment("behind 5"))
    holdback = held(first, second)
    assert holdback.connection == 2
    assert numbers(holdback.release()) == [5, "behind 5", 8, 9, "behind 9"]


def test_runs_may_interleave():
    """Whichever connection brought them, numbers are given back in order."""
    assert numbers(held(blocks(5, 9), blocks(7, 11)).release()) == [5, 7, 9, 11]


def test_items_without_a_block_to_follow_go_first():
    """An item that stands before all blocks of its run stays in front."""
    holdback = held(blocks(8), deque([Comment("first"), *blocks(5)]))
    assert numbers(holdback.release()) == ["first", 5, 8]


def test_the_last_number():
    """It is that of the last block, whatever stands behind it; without blocks there is none to speak of."""
    run = blocks(4, 6)
    run.append(Comment("a"))
    assert held(run).last_number == 6
    assert held(deque([Comment("a")])).last_number < -(10**9)


@pytest.mark.parametrize(
    "up_to, released, kept",
    [
        (3, [], [4, "a", 6, "b", 8]),
        (4, [4, "a"], [6, "b", 8]),
        (5, [4, "a"], [6, "b", 8]),
        (6, [4, "a", 6, "b"], [8]),
        (9, [4, "a", 6, "b", 8], []),
        (None, [4, "a", 6, "b", 8], []),
    ],
)
def test_releasing_a_part(up_to, released, kept):
    """What is numbered higher is kept, and unnumbered items go with their block."""
    four, six, eight = blocks(4, 6, 8)
    holdback = held(deque([four, Comment("a"), six, Comment("b"), eight]))
    assert numbers(holdback.release(up_to)) == released
    assert numbers(holdback.release()) == kept


def test_what_is_due():
    """The next number is due; one that is passed was replayed and is dropped; one ahead has to wait."""
    holdback = held(blocks(3, 4, 5, 8))
    assert holdback.due(1, None) is None
    assert number(holdback.due(4, None)) == 5
    assert holdback.due(5, None) is None
    assert numbers(holdback.release()) == [8]


def test_what_comes_by_itself_goes_first():
    """A block of the same number in the queue is preferred: the held one is dropped behind it."""
    holdback = held(blocks(5, 6))
    assert holdback.due(4, 5) is None
    assert number(holdback.due(5, 7)) == 6


def test_what_has_no_number_is_due_at_once():
    """An item that follows nothing held any more has nothing to wait for."""
    holdback = held(deque([Comment("a"), *blocks(5)]))
    assert holdback.due(1, None) == Comment("a")
    assert holdback.due(1, None) is None


def test_without_a_mark_everything_is_due():
    """A stream that knows no number yet holds nothing up."""
    assert number(held(blocks(5)).due(None, None)) == 5


def test_clearing():
    """Everything is forgotten."""
    holdback = held(blocks(5))
    holdback.clear()
    assert not holdback
