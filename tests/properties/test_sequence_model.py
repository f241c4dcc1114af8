"""Whatever a server of numbers does (holes, restarts, long replays, late events), against a small model."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import event, given
from hypothesis import strategies as st

from resilient_sse import Gap, Reason, ServerSentEvent, StreamStats, integers
from resilient_sse._core.delivery import Delivery
from resilient_sse._core.events import Closed
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.parser import Block
from resilient_sse._core.sequence import State
from tests.properties.sse_grammar import PROFILE


@dataclass(frozen=True)
class Serving:
    """What a server sends over one connection, seen from the id that it is asked to resume after."""

    restarts: bool  # it begins its numbering anew, with other contents
    start: (
        int  # how many numbers before (or, negative, behind) the next one it begins; 1000: at its first one
    )
    length: int
    missing: frozenset[int]  # which of them it leaves out
    late: tuple[tuple[int, int], ...]  # numbers of before that come once more: how far back, and when
    batch: int

    def numbers(self, cursor: int, first: int) -> list[int]:
        """Tell which numbers are sent to a client that has *cursor*, by a server that began with *first*."""
        start = max(cursor + 1 - self.start, first)
        sent = [start + at for at in range(self.length) if at not in self.missing]
        for back, at in self.late:
            sent.insert(min(at, len(sent)), max(cursor - back, first))
        return sent


servings = st.builds(
    Serving,
    restarts=st.sampled_from([False, False, False, False, True]),
    start=st.sampled_from([0, 0, 0, 1, 3, 8, 25, 1000, -1, -2, -6]),
    length=st.integers(0, 40),
    missing=st.one_of(st.just(frozenset[int]()), st.frozensets(st.integers(0, 40), max_size=6)),
    late=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=2).map(tuple),
    batch=st.integers(1, 12),
)


class Model:
    """The client's half, and what of it is true of any server."""

    def __init__(self, window: int, dedup: str) -> None:
        self.stats = StreamStats()
        self.delivery = Delivery(
            StreamOptions(sequence=integers, dedup_window=window, dedup=dedup), self.stats
        )
        self.sent: list[tuple[int, str]] = []
        self.taken: list[ServerSentEvent | Gap] = []

    def reads(self, connection: int, numbers: list[int], epoch: int, batch: int) -> None:
        """Read over a connection until it ends or is to be replaced, as a session does."""
        sequence = self.delivery.sequence
        self.delivery.connected(connection, resumed=connection > 1)
        for at in range(0, len(numbers), batch):
            for number in numbers[at : at + batch]:
                self.sent.append((number, f"{epoch}:{number}"))
                self.delivery.put(Block("", f"{epoch}:{number}", str(number)))
            self.takes()
            if sequence.state is State.ASKING:
                break
        sequence.settle()
        self.takes()

    def takes(self) -> None:
        while (item := self.delivery.take()) is not None or self.delivery.unfinished:
            if isinstance(item, ServerSentEvent | Gap):
                self.taken.append(item)
        assert self.stats.received == self.stats.delivered + self.stats.duplicates

    def ends(self) -> None:
        self.delivery.end(Closed(reason=Reason.CLOSED))
        self.takes()

    def check(self) -> None:
        """Assert that every event was delivered in order, once, or is accounted for."""
        delivered: set[tuple[int, str]] = set()
        accounted: set[int] = set()  # numbers of reported holes, and those before the first
        high: int | None = None
        stretch: set[tuple[int, str]] = set()  # what was delivered of the present numbering
        for item in self.taken:
            if isinstance(item, ServerSentEvent):
                number = int(item.id or "")
                twice = number == high and (number, item.data) not in stretch  # an id with two events
                assert high is None or number == high + 1 or twice, "in order, and nothing is left out unsaid"
                stretch.add((number, item.data))
                accounted |= set(range(number)) if high is None else set()
                high = number
                delivered.add((number, item.data))
            elif item.kind == "hole":
                low, end = int(item.after_id or ""), int(item.before_id or "")
                missing = range((high or low) + 1, end)
                assert item.missing == len(missing) > 0
                accounted |= set(missing)
                high = end - 1
            else:
                assert item.kind == "reset"
                high, stretch = None, set()
        assert all(each in delivered or each[0] in accounted for each in self.sent), (
            "nothing is dropped unseen"
        )
        gaps = [item for item in self.taken if isinstance(item, Gap)]
        assert self.stats.lost == sum(gap.missing or 0 for gap in gaps)
        assert self.stats.gaps == len(gaps)


plans = st.lists(servings, min_size=1, max_size=8)


@PROFILE
@given(plans, st.sampled_from([1, 4, 16, 1000]), st.integers(1, 30), st.sampled_from(["auto", "always"]))
def test_everything_is_accounted_for(plan, window, first, dedup):
    """Each event is delivered in order and once, or it was before, or lies in a reported hole (P22, P23, R35)."""
    model, epoch = Model(window, dedup), 0
    for connection, serving in enumerate(plan, start=1):
        epoch += serving.restarts
        cursor = int(model.delivery.cursor or first - 1)
        begin = 1 if epoch else first
        model.reads(
            connection, serving.numbers(0 if serving.restarts else cursor, begin), epoch, serving.batch
        )
    model.ends()
    model.check()
    event(f"gaps: {min(model.stats.gaps, 3)}, duplicates: {min(model.stats.duplicates, 1)}")


@PROFILE
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(1, 12)), min_size=1, max_size=8),
    st.sampled_from([1, 4, 16, 1000]),
    st.integers(1, 30),
)
def test_a_server_that_replays_any_length_is_heard_once(connections, window, first):
    """From its first event or from anywhere, as long as it goes on to what is known or new (3.2, 3.6, R63)."""
    model, high = Model(window, "auto"), first - 1
    for connection, (back, more, batch) in enumerate(connections, start=1):
        numbers = [*range(max(high + 1 - back, 1 if connection > 1 else first), high + more + 1)]
        model.reads(connection, numbers, 0, batch)
        high += more
    assert [int(item.id) for item in model.taken] == list(range(first, high + 1))
