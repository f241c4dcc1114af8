"""
The plan of one run, as data: what the server does, request by request, and what the consumer does.

Hypothesis draws plans, makes those that fail small, and prints them as Python that can be pasted into a test.
"""

from dataclasses import dataclass, field, fields, replace
from enum import Enum

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.internal.conjecture.providers import AVAILABLE_PROVIDERS

from resilient_sse import Backoff

# Hypothesis's own way to draw, by another name: then each plan is drawn anew.  By its first name five of six are
# the one before with a part of it twice, and it took up to twenty times as many to find a fault.
AVAILABLE_PROVIDERS["fresh"] = "hypothesis.internal.conjecture.providers.HypothesisProvider"


class Word(Enum):
    """A word of plans, which is printed as it is written."""

    __repr__ = Enum.__str__


class Ids(Word):
    """What the server's ids are."""

    NUMBERS = "numbers that count, for `sequence=integers`; after a restart from 1 again"
    OPAQUE = "names, with that of the server's epoch in them"
    RISING = "numbers without a meaning that rise, over restarts too"
    THINGS = "what an event is about: events share them, and nothing can be resumed after one"


class Dialect(Word):
    """How a stream says where it wants to go on."""

    HEADER = "by `Last-Event-ID`"
    QUERY = "by a query parameter"
    JSON = "by a query parameter; events have no ids, and `cursor` reads their JSON"
    LOCATION = "a POST, then a GET of the `Location` that was answered, with the header"


class Kind(Word):
    """What a request meets."""

    STREAM = "an event stream"
    STATUS = "an answer that is none"
    REFUSED = "no connection"
    CONNECT_TIMEOUT = "no connection, in silence"
    NO_HEADERS = "a connection, and silence"


class End(Word):
    """How a connection ends."""

    DROP = "reset"
    EOF = "cleanly"
    STALL = "in silence, until the client gives it up"
    CUT = "closed in mid-body"


class Does(Word):
    """What a server does while a connection is up; *value* of `Live` is milliseconds or seconds."""

    EVENT = "send an event"
    OTHER = "send one of a type that may be filtered"
    PLAIN = "send one without an id, which no replay brings again"
    TWICE = "send one, and again"
    SKIP = "keep one back, which a replay brings"
    VANISH = "lose one for good"
    RETRY = "send a `retry` field of *value* ms alone"
    HEARTBEAT = "send a heartbeat without an id"
    ECHO = "send a heartbeat with the last id"
    BEAT = "send a heartbeat with a number of its own"
    COMMENT = "send a comment"
    PAUSE = "be silent for *value* seconds"


class Do(Word):
    """What a consumer does at an event, or at a time."""

    SLOW = "handle it for so many seconds"
    CANCEL = "cancel the read after it by a scope, so many seconds after it began"
    CANCEL_TASK = "cancel it by cancelling the task that reads"
    RAISE = "leave the stream by an exception; a new process begins at the checkpoint"
    CRASH = "leave it by cancellation"
    RESTART = "call `restart()`"
    ACLOSE = "call `aclose()` from another task"


@dataclass(frozen=True)
class Data:
    """Data that is printed without what is at its default."""

    def __repr__(self):
        shown = [
            f"{each.name}={value!r}"
            for each in fields(self)
            if (value := getattr(self, each.name)) != each.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_pretty_(self, printer, cycle):
        printer.text(repr(self))  # what Hypothesis prints


def drawn(default, *others):
    """Declare a field that is at its default or at one of these, as often as they are listed."""
    return field(default=default, metadata={"others": others})


@dataclass(frozen=True, repr=False)
class Live(Data):
    """One thing that happens while a connection is up."""

    does: Does
    value: float = 0


@dataclass(frozen=True, repr=False)
class Options(Data):
    """
    The arguments of the stream, by the names of `ResilientStream`, and how the consumer uses it.

    *backoff* is its four numbers, *filtered* whether events of the type `other` are not wanted, *again* how often
    the consumer iterates again after an error.  *once* is whether the body of a POST can be sent but once,
    *activity* that the consumer reads `activity()`, *poll* that it gives up each read after so many seconds and
    asks again.  *watched* is whether there are observers, a checkpoint or `until`: a stream without any of them
    judges whole reads at once.
    """

    ids: Ids = Ids.NUMBERS
    dialect: Dialect = Dialect.HEADER
    watched: bool = True
    dedup: str = drawn("auto", "always", "always", "always", "replay", "off")
    dedup_window: int = drawn(1000, 12)
    checkpoint: bool = drawn(True, False)
    ack: str = drawn("auto", "manual")
    stall_timeout: float = drawn(30.0, 10.0)
    event_timeout: float | None = drawn(None, 20.0, 45.0)
    stall_on: str = drawn("bytes", "frames", "events")
    on_eof: str = drawn("reconnect", "complete")
    max_retries: int | None = drawn(5, 3, 2, 1, 0, None, None)
    max_server_delay: float = drawn(60.0, 7.0)
    backoff: tuple = drawn(
        (1.0, 2.0, 5.0, 0.1), (0.5, 3.0, 8.0, 0.5), (2.0, 1.0, 2.0, 1.0), (0.1, 2.0, 1.0, 0.0)
    )
    compression: bool = drawn(False, True)
    filtered: bool = drawn(False, True, True)
    again: int = drawn(3, 0, 2, 5)
    post: bool = drawn(False, True, True)
    once: bool = False
    activity: bool = drawn(False, True, True)
    poll: float | None = drawn(None, 0.2, 3.0, 11.0)

    @property
    def pace(self):
        return Backoff(*self.backoff)

    @property
    def numbered(self):
        return self.ids is Ids.NUMBERS


@dataclass(frozen=True, repr=False)
class Answer(Data):
    """
    What one attempt meets.

    Before it, the server lost all it had stored and counts from 1 again (*restart*), published events while
    nobody was connected (*away*), and lost some that the client has not seen (*expire*).  There are *redirects* of
    these statuses.  The answer comes *after* so many seconds; if it cannot resume, it may *announce* so.  A replay
    begins *overlap* events too early, ends after a *page*, *omit*s some at its beginning that the server has.
    Then all that is *live* happens.  *keep* is the share of the bytes that arrive before the end, *chunk* the
    bytes of a read, about; 0 is a read for each block.  Closing takes the client *close_takes* seconds.
    """

    kind: Kind = Kind.STREAM
    redirects: tuple = drawn((), (301,), (303, 308, 307), (308,) * 10, (302,) * 11)
    restart: bool = drawn(False, True)
    away: int = drawn(0, 1, 1, 2, 2, 4)
    expire: int = drawn(0, 1)
    status: int = 503
    retry_after: int | None = drawn(None, 0, 1, 3, 12, 100)
    announce: bool = False
    after: float = drawn(0.0, 0.2, 8.0)
    overlap: int = drawn(0, 1, 2, 3, 4, 4)
    page: int | None = drawn(None, 1, 3)
    omit: int = drawn(0, 1)
    live: tuple = ()
    keep: float = 1.0
    end: End = End.DROP
    chunk: int = 0
    crlf: bool = drawn(False, True, True)
    gzip: bool = drawn(False, True)
    close_takes: float = drawn(0.0, 1.5, 30.0)


@dataclass(frozen=True, repr=False)
class Deed(Data):
    """Something that the consumer does at an event, counted from 1 over the whole run, or at a time."""

    do: Do
    event: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, repr=False)
class Plan(Data):
    """
    A whole run.

    When the answers are used up, the server is well again and sends what is left and an end.  *seed* is that of
    the jitter, and of where reads end.
    """

    options: Options = Options()
    answers: tuple = ()
    deeds: tuple = ()
    seed: int = 0
    backend: str = "asyncio"


def often(weights):
    """Draw a key of *weights* as often as its weight says; what is first is the simplest."""
    return st.sampled_from([each for each, weight in weights.items() for _ in range(weight)])


def some(part, names, most, *changes):
    """Draw some changes of *part*, of one field each or of several: simple plans take few draws, or none."""
    for each in fields(part):
        values = each.metadata.get("others", ()) if each.name in names else ()
        changes += tuple({each.name: value} for value in values)
    return st.lists(st.sampled_from(changes), max_size=most)


_OPTIONS = some(Options, {each.name for each in fields(Options)}, 9, {"post": True, "once": True})
_IDS = often({Ids.NUMBERS: 5, Ids.OPAQUE: 3, Ids.RISING: 2, Ids.THINGS: 1})
_DIALECTS = often({Dialect.HEADER: 7, Dialect.QUERY: 1, Dialect.JSON: 1, Dialect.LOCATION: 1})
_WATCHED = often({True: 3, False: 1})


@st.composite
def options(draw):
    """Draw the options; some exclude each other."""
    found = {"ids": draw(_IDS), "dialect": draw(_DIALECTS), "watched": draw(_WATCHED)}
    for change in draw(_OPTIONS):
        found |= change
    if not found["watched"]:  # the client must have no reason to look at single events
        found |= {"checkpoint": False, "filtered": False}
        found["ids"] = Ids.RISING if found["ids"] is Ids.NUMBERS else found["ids"]
    if found["ids"] is Ids.THINGS:  # no position, and no repetition but one that follows at once
        found |= {"checkpoint": False, "dialect": Dialect.HEADER, "dedup": "auto", "dedup_window": 1000}
    if found["dialect"] in (Dialect.QUERY, Dialect.JSON):  # whether a POST may go on is seen when it is made
        found |= {"post": False}
    if found["dialect"] is Dialect.LOCATION:  # a new process knows no address, and begins anew
        found |= {"post": True, "once": False, "checkpoint": False}
    return Options(**found)


_KINDS = often(
    {Kind.STREAM: 66, Kind.STATUS: 18, Kind.REFUSED: 8, Kind.CONNECT_TIMEOUT: 4, Kind.NO_HEADERS: 4}
)
_STATUSES = often({503: 12, 500: 2, 502: 2, 429: 8, 409: 4, 408: 2, 410: 2, 204: 1, 403: 3})
_OTHERS = some(Answer, {"away", "redirects"}, 1)
_REFUSALS = some(Answer, {"away", "redirects", "retry_after"}, 3)
_STREAMS = some(
    Answer,
    {each.name for each in fields(Answer)} - {"retry_after"},
    4,
    {"expire": 3, "announce": True},
    {"restart": True, "announce": True},
)
_WORDS = {Does.EVENT: 40, Does.OTHER: 5, Does.PLAIN: 8, Does.TWICE: 4, Does.SKIP: 3, Does.VANISH: 3}
_WORDS |= {Does.HEARTBEAT: 4, Does.ECHO: 3, Does.BEAT: 3, Does.COMMENT: 4}
_LIVES = often(
    {
        **{Live(does): weight for does, weight in _WORDS.items()},
        **{Live(Does.PAUSE, each): 2 for each in (0.25, 1.0, 2.5, 4.0, 9.0, 27.0, 34.0)},
        **{Live(Does.RETRY, each): 1 for each in (0, 50, 2500, 90_000)},
    }
)
_LIVE = st.lists(_LIVES, max_size=9).map(tuple)
_ENDS = often({End.DROP: 5, End.EOF: 4, End.STALL: 3, End.CUT: 2})
_KEEPS = st.sampled_from((1.0,) * 13 + tuple(each / 20 for each in range(20)))
_CHUNKS = st.sampled_from((0, 0, 0, 0, 60, 25, 7, 2))


@st.composite
def answers(draw):
    """Draw what one request meets."""
    found = {"kind": draw(_KINDS)}
    changes = _OTHERS
    if found["kind"] is Kind.STATUS:
        found["status"] = draw(_STATUSES)
        changes = _REFUSALS
    elif found["kind"] is Kind.STREAM:
        found |= {"live": draw(_LIVE), "end": draw(_ENDS), "keep": draw(_KEEPS), "chunk": draw(_CHUNKS)}
        changes = _STREAMS
    for change in draw(changes):
        found |= change
    return Answer(**found)


_SECONDS = (0.0, 0.0, 0.1, 1.5, 6.0, 33.0)
_AT_EVENTS = (
    *(Deed(Do.SLOW, seconds=each) for each in (2.0, 40.0, 40.0, 200.0)),
    *(Deed(Do.CANCEL, seconds=each) for each in _SECONDS),
    *(Deed(Do.CANCEL_TASK, seconds=each) for each in _SECONDS),
    *(Deed(do) for do in (Do.RAISE, Do.RAISE, Do.CRASH, Do.CRASH, Do.RESTART)),
)
_DEEDS = st.lists(st.tuples(st.integers(1, 25), st.sampled_from(_AT_EVENTS)), max_size=5)
_TIMES = st.lists(st.tuples(often({Do.RESTART: 4, Do.ACLOSE: 1}), st.integers(0, 1500)), max_size=2)


@st.composite
def plans(draw):
    """Draw a plan: some eight answers, some twenty events, a consumer that misbehaves."""
    at_events = {event: replace(deed, event=event) for event, deed in draw(_DEEDS)}
    return Plan(
        options=draw(_ANY_OPTIONS),
        answers=draw(_ANSWERS),
        deeds=(*at_events.values(), *(Deed(do, seconds=time / 10) for do, time in draw(_TIMES))),
        seed=draw(_SEEDS),
        backend=draw(_BACKENDS),
    )


_ANY_OPTIONS = options()
_ANSWERS = st.lists(answers(), min_size=3, max_size=14).map(tuple)
_SEEDS = st.integers(0, 999)
_BACKENDS = often({"asyncio": 12, "trio": 1})


def for_plans(play, *, examples, first, shrink=True):
    """
    Call *play* with plans; of those that fail the smallest is printed, and its error raised.

    Args:
        play: Called with each plan.
        examples: How many plans.
        first: The seed they are drawn from.
        shrink: Whether to look for the smallest.
    """

    @seed(first)
    @settings(
        backend="fresh",
        max_examples=examples,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(plans())
    def every_promise_holds(plan):
        play(plan)

    every_promise_holds()
