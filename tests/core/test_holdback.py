from __future__ import annotations

from collections import deque

import pytest

from resilient_sse._core.events import Closed, Gap, ServerSentEvent
from resilient_sse._core.holdback import Holdback
from resilient_sse._core.intake import Intake, IntakeOptions
from resilient_sse._core.parser import Block
from resilient_sse._core.sequence import integers
from resilient_sse._core.states import Reason
from resilient_sse._core.stats import StreamStats


def block(number: int | None, data: str = "") -> Block:
    """Make a block whose data tells its number, if none is given."""
    return Block(data=data or f"of {number}", id=None if number is None else str(number))


def held(*items: Block) -> Holdback:
    """Make a holdback of integer ids that holds *items*."""
    holdback = Holdback(lambda item: int(item.id) if isinstance(item, Block) and item.id else None)
    holdback.hold(deque(items), 1)
    return holdback


def test_two_runs_are_merged_by_number():
    """What has no number stays behind the block it follows (R35)."""
    follower = block(None, "follower")
    holdback = held(block(5), follower, block(9))
    holdback.hold(deque([block(3), block(7)]), 2)
    assert list(holdback.release()) == [block(3), block(5), follower, block(7), block(9)]
    assert not holdback


@pytest.mark.parametrize("up_to, released", [(4, []), (5, [5]), (8, [5]), (9, [5, 9]), (None, [5, 9])])
def test_a_part_is_released(up_to, released):
    """Only what is numbered as low as asked for comes out; the rest stays."""
    holdback = held(block(5), block(9))
    assert [int(item.id) for item in holdback.release(up_to)] == released
    assert bool(holdback) is (len(released) < 2)


def test_its_turn():
    """The next number comes up, unless the replay is about to bring it; what was replayed is dropped."""
    holdback = held(block(5), block(6), block(9))
    assert holdback.due(3, None) is None
    assert holdback.due(4, 5) is None
    assert holdback.due(4, 9) == block(5)
    assert holdback.due(6, None) is None
    assert holdback.last_number == 9
    holdback.clear()
    assert holdback.due(8, None) is None


class Stream:
    """An intake with connections, and what it delivered."""

    def __init__(self) -> None:
        self.stats = StreamStats()
        self.intake = Intake(IntakeOptions(sequence=integers), self.stats)
        self.items: list = []
        self.connections = 0

    def connection(self, *items: Block) -> None:
        self.connections += 1
        self.intake.connected(self.connections, resumed=self.connections > 1)
        for item in items:
            self.intake.put(item)
        self.take()

    def take(self) -> None:
        while (item := self.intake.take()) is not None:
            self.items.append(item)

    def end(self) -> list:
        self.intake.end(Closed(reason=Reason.COMPLETE))
        self.take()
        return [
            item.data if isinstance(item, ServerSentEvent) else item.missing
            for item in self.items
            if isinstance(item, (ServerSentEvent, Gap))
        ]


def test_a_replay_that_ends_before_what_is_held():
    """What was received is delivered although the replay did not reach it; the rest is reported (R40)."""
    stream = Stream()
    stream.connection(block(1), block(2), block(5), block(6))
    stream.connection(block(3))
    assert stream.end() == ["of 1", "of 2", "of 3", 1, "of 5", "of 6"]
    assert (stream.stats.gaps, stream.stats.lost) == (1, 1)


def test_an_event_without_a_number_is_not_dropped_with_a_replay():
    """It may not be in the replay, and nobody could tell that it was lost."""
    stream = Stream()
    stream.connection(block(1), block(2), block(5), block(None, "ephemeral"), block(6))
    stream.connection(block(3), block(4), block(5), block(6))
    assert stream.end() == ["of 1", "of 2", "of 3", "of 4", "of 5", "ephemeral", "of 6"]


def test_what_was_held_is_not_reported_as_lost():
    """A partial replay followed by live events leaves only the real hole."""
    stream = Stream()
    stream.connection(block(1), block(2), block(5), block(6))
    stream.connection(block(4), block(9))
    stream.connection(block(9))
    assert stream.end() == ["of 1", "of 2", 1, "of 4", "of 5", "of 6", 2, "of 9"]


def test_a_numbering_that_leaps_and_falls_back_loses_nothing():
    """One absurd id costs a notice, not the events behind it (P23)."""
    stream = Stream()
    leap = [block(10**30), *map(block, range(3, 6))]
    stream.connection(block(1), block(2), *leap)
    stream.connection(*leap)
    assert stream.end()[-3:] == ["of 3", "of 4", "of 5"]


def test_an_id_used_twice_is_delivered_once_each():
    """Both events with one number are known afterwards, however often they are replayed (R150)."""
    stream = Stream()
    for _ in range(4):
        stream.connection(block(2, "b"), block(2, "B"))
    stream.connection(block(2, "b"), block(2, "B"), block(3))
    assert stream.end() == ["b", "B", "of 3"]


def test_a_number_without_data_and_then_with():
    """The event is delivered once, although its id alone came first."""
    stream = Stream()
    for _ in range(3):
        stream.connection(block(1), Block(id="2"), block(2))
    assert stream.end() == ["of 1", "of 2"]
