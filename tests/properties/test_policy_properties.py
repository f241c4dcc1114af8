"""What holds for every delay, every id and every window, however badly the server behaves."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resilient_sse._core.backoff import MIN_SERVER_DELAY, Backoff, Pacing
from resilient_sse._core.cursor import usable_as_cursor
from resilient_sse._core.dedup import DEDUP_MODES, Dedup, Deduplicator, Sighting
from resilient_sse._core.outage import retry_after_seconds
from tests.properties.sse_grammar import PROFILE

# Delays

attempts = st.one_of(st.integers(1, 40), st.integers(1, 10_000), st.sampled_from([1024, 1025, 1026, 10**6]))
randoms = st.floats(0, 1, exclude_max=True)
seconds = st.one_of(st.just(0.0), st.floats(0.001, 1000))


@st.composite
def backoffs(draw: st.DrawFn) -> Backoff:
    """Draw any backoff that can be made."""
    initial = draw(seconds)
    return Backoff(
        initial=initial,
        factor=draw(st.floats(1, 10)),
        maximum=initial + draw(seconds),
        jitter=draw(st.floats(0, 1)),
    )


def close_to(value: float, truth: float) -> bool:
    """Whether two durations differ by rounding only."""
    return math.isclose(value, truth, rel_tol=1e-9, abs_tol=1e-12)


@PROFILE
@given(backoffs(), st.integers(1, 300))
def test_the_nominal_delay_follows_its_formula(backoff, attempt):
    """`min(initial * factor ** (n - 1), maximum)` for all of them, held against exact fractions (R55)."""
    exact = min(
        Fraction(backoff.initial) * Fraction(backoff.factor) ** (attempt - 1), Fraction(backoff.maximum)
    )
    assert close_to(backoff.nominal(attempt), float(exact))


@PROFILE
@given(backoffs(), attempts, randoms)
def test_a_delay_lies_in_its_band(backoff, attempt, random):
    """Every delay is within the jitter around its nominal value, and never above the cap (R28, R56, X6)."""
    delay = Pacing(backoff, max_server_delay=60.0, random=lambda: random).delay(attempt)
    nominal = backoff.nominal(attempt)
    low, high = nominal * (1 - backoff.jitter), min(nominal * (1 + backoff.jitter), backoff.maximum)
    assert low <= delay <= high or close_to(delay, low) or close_to(delay, high)
    assert delay <= backoff.maximum
    assert backoff.nominal(attempt + 1) >= nominal


@PROFILE
@given(
    backoffs(),
    attempts,
    randoms,
    st.tuples(
        st.one_of(st.none(), st.integers(0, 10**15 - 1)),
        st.one_of(st.none(), st.floats(0, 1e9)),
        st.floats(MIN_SERVER_DELAY, 1e5),
    ),
)
def test_a_server_is_never_undercut(backoff, attempt, random, wishes_and_ceiling):
    """No wait is shorter than the server asks, within the ceiling, and none longer than anybody asks (P6)."""
    retry, retry_after, ceiling = wishes_and_ceiling
    pacing = Pacing(backoff, max_server_delay=ceiling, random=lambda: random)
    wishes = [0.0]
    if retry is not None:
        pacing.retry(retry)
        wishes.append(min(max(retry / 1000, MIN_SERVER_DELAY), ceiling))
    if retry_after is not None:
        pacing.retry_after(retry_after)
        wishes.append(min(max(retry_after, MIN_SERVER_DELAY), ceiling))
    delay = pacing.delay(attempt)
    assert delay >= max(wishes)
    assert delay <= max(backoff.maximum, min(max(wishes) * (1 + backoff.jitter), ceiling))


@pytest.mark.slow
@PROFILE
@given(
    st.one_of(
        st.text(max_size=40), st.from_regex(r"[A-Za-z, :0-9+-]{0,40}", fullmatch=True), st.integers().map(str)
    ),
    st.one_of(st.just(""), st.from_regex(r"Mon, [0-9]{1,22} Oct [0-9]{1,22} [0-9:]{1,22} [A-Z0-9+-]{1,22}")),
)
def test_any_retry_after_is_survived(value, date):
    """Whatever a server writes there is a number of seconds or nothing (P6)."""
    now = datetime(2024, 10, 21, 7, 28, tzinfo=UTC)
    for headers in ({"retry-after": value, "date": date}, {"retry-after": date, "date": value}):
        wait = retry_after_seconds(headers, now=now)
        assert wait is None or 0 <= wait < math.inf


# Ids


@PROFILE
@given(
    st.one_of(
        st.text(st.characters(exclude_categories=[]), max_size=8),
        st.text("aé \t\0\r\n\x7f\x80\u00a0", max_size=8),
        st.tuples(st.sampled_from("aé€😀"), st.integers(1000, 4100)).map(lambda drawn: drawn[0] * drawn[1]),
    )
)
def test_an_id_is_usable_if_a_header_can_carry_it(event_id):
    """No control characters, no edge spaces, 1 byte to 4 KiB of UTF-8: no more is asked, and no less (P7)."""
    try:
        size = len(event_id.encode("utf-8"))
    except UnicodeEncodeError:
        size = 0
    printable = not any(character < " " or character == "\x7f" for character in event_id)
    expected = 1 <= size <= 4096 and printable and event_id.strip(" ") == event_id
    assert usable_as_cursor(event_id) is expected


# Deduplication

Seen = tuple[str, str, str]


class NaiveWindow:
    """The same, thought of as a list of all that came, of which the last count."""

    def __init__(self, size: int, mode: Dedup) -> None:
        self.size, self.mode = size, mode
        self.meaningless = False
        self.clear()
        self.connected(1, resumed=False)

    def clear(self) -> None:
        self.events: list[Seen] = []
        self.run: list[Seen] | None = []  # what has risen without a break
        self.highest = (0, "")
        self.risen = self.here = 0
        self.only_rose = True

    def connected(self, number: int, *, resumed: bool) -> None:
        self.here, self.resumed, self.again = len(self.events), resumed, resumed or number > 1
        self.replays = False  # it began where this stream began

    def resume_from(self, event_id: str) -> None:
        self.clear()
        self.highest = place(event_id)
        self.events = [(event_id, "any", "any")]

    def with_id(self, event_id: str) -> list[Seen]:
        return [event for event in self.events[-self.size :] if event[0] == event_id]

    @property
    def drops(self) -> bool:
        rose = self.only_rose and self.risen > 1
        auto = (self.resumed or rose) and not self.meaningless
        return {"auto": auto, "always": True, "replay": self.again, "off": False}[self.mode]

    def look(self, event: Seen) -> Sighting:
        known = self.with_id(event[0])
        if known and known[-1][1] == "any":
            return Sighting.DUPLICATE
        if known and event != known[-1] and self.came_here(known[-1]):
            return Sighting.CONFLICT
        if event in (known[-1:] if self.meaningless else known):
            return Sighting.DUPLICATE
        return Sighting.CONFLICT if known else self.beyond(event)

    def came_here(self, event: Seen) -> bool:
        return self.mode == "auto" and event in self.events[self.here :][-self.size :]

    def beyond(self, event: Seen) -> Sighting:
        """Whether a replay brings again what has left the window, while ids rise."""
        gone = (self.run or [])[: -self.size]
        if not (self.resumed and gone and place(event[0])):
            return Sighting.NEW
        first = gone[0]
        foreign = event[0][0] == "0" and len(event[0]) > len(first[0])
        if foreign or not place(first[0]) <= place(event[0]) <= place(gone[-1][0]):
            return Sighting.NEW
        known = [each for each in gone[:16] if each[0] == event[0]]
        if known:
            return Sighting.DUPLICATE if event in known else Sighting.CONFLICT
        return Sighting.DUPLICATE if self.replays else Sighting.NEW

    def remember(self, event: Seen) -> Sighting:
        sighting = self.look(event)
        known = self.with_id(event[0])
        if sighting is Sighting.DUPLICATE:
            self.replays |= not known
            if known and known[-1][1] == "any":
                self.events[self.events.index(known[-1])] = event
            return sighting
        if known and self.came_here(known[-1]):
            self.meaningless = True
        self.events.append(event)
        if place(event[0]) > self.highest:
            self.highest = place(event[0])
            self.risen += 1
            if self.run is not None:
                self.run.append(event)
            elif self.risen >= self.size:
                self.run = []
        else:
            self.risen, self.only_rose, self.run = 0, False, None
        return sighting


def place(event_id: str) -> tuple[int, str]:
    """Where an id of ASCII digits stands, shorter ones first; before all if it is none."""
    digits = event_id.isascii() and event_id.isdigit() and int(event_id) + 10 ** len(event_id) // 9 < 2**63
    return (len(event_id), event_id) if digits else (0, "")


few = st.sampled_from(["a", "b", "1-0", "0", "7", "007", "7" * 19, "9" * 19, "8" * 25, "\u0663"])
rising = st.builds(
    lambda start, count, step, form: [form.format(start + step * at) for at in range(count)],
    st.integers(0, 120),
    st.integers(1, 30),
    st.sampled_from([1, 1, 1, 3, 40]),
    st.sampled_from(["{}", "{}", "{:03}", "{:03}", "{:05}", "{}-0", "811226092574366{:04}"]),
)
one_id = st.builds(lambda each, count: [each] * count, few, st.integers(1, 30))
runs = st.lists(st.one_of(rising, rising, st.lists(few, min_size=1, max_size=12), one_id), max_size=8)
contents = st.one_of(st.just(["x"]), st.lists(st.sampled_from("xy"), min_size=1, max_size=5))
served = st.tuples(st.booleans(), st.booleans(), runs, contents)


@PROFILE
@given(
    st.integers(1, 20),
    st.sampled_from(DEDUP_MODES),
    st.lists(served, min_size=1, max_size=4),
    st.one_of(st.none(), few, st.integers(0, 30).map(str)),
)
@example(20, "auto", [(False, False, [["010", "013"]], ["x", "y"]), (True, True, [["011"]], ["x"])], None)
@example(20, "auto", [(True, False, [["a"], ["a"]], ["x"]), (True, False, [["a"]], ["y"])], "a")
def test_the_window_is_the_last_of_all_events(size, mode, connections, resumed_from):
    """Rings of hashes judge like a list of everything of which the last part counts, in runs too (R150, X17)."""
    window, naive = Deduplicator(size, mode), NaiveWindow(size, mode)
    if resumed_from is not None:
        window.resume_from(resumed_from)
        naive.resume_from(resumed_from)
    sent: list[list[Seen]] = []
    for number, (resumed, replayed, ids, data) in enumerate(connections, 1):
        window.connected(number, resumed=resumed)
        naive.connected(number, resumed=resumed)
        new = [[(each, "m", data[at % len(data)]) for at, each in enumerate(run)] for run in ids]
        for run in [*(sent if replayed else ()), *new]:
            assert [window.look(*event) for event in run] == [naive.look(event) for event in run]
            if len(run) == 1:
                assert window.remember(*run[0]) is naive.remember(run[0])
            else:
                judged = [(naive.remember(event), naive.drops) for event in run]
                dropped = [at for at, each in enumerate(judged) if each == (Sighting.DUPLICATE, True)]
                conflicts = [each for each, _ in judged].count(Sighting.CONFLICT)
                assert window.remember_run(*zip(*run, strict=True)) == (conflicts, dropped)
            assert window.drops == naive.drops
            assert window.meaningless == naive.meaningless
            assert len(window) == min(len(naive.events), size)
        sent += new
