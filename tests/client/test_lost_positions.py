"""Every way to lose a position is told by one `Gap` or by one typed error, exactly once (P61)."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

import anyio
import pytest

from resilient_sse import (
    BadStatusError,
    CheckpointError,
    Gap,
    NotResumableError,
    RetriesExhaustedError,
    integers,
    resume,
)
from resilient_sse.checkpoints import Checkpoint
from resilient_sse.testing import Refusal, Reply, Script, event
from tests.client.support import Store, dropped, make, numbered, one_loop
from tests.docs.pages import table, text_of


class Stored(Store):
    """A store that holds one position, which another consumer may have moved since it was read."""

    def __init__(self, position: str, *, moved: bool = False) -> None:
        super().__init__()
        self._read, self._held = Checkpoint(position, version=1), Checkpoint(position, version=1 + moved)

    async def load(self, key: str) -> Checkpoint:
        self._positions[key] = self._held
        return self._read


async def spent() -> AsyncIterator[bytes]:
    """Be a body that can be sent once."""
    yield b"{}"


def again(*parts: bytes, **options: Any) -> Reply:
    """Answer, and be reset behind it."""
    return Reply(*parts, **options).drop()


def gone(status: int, **options: Any) -> Reply:
    """Refuse."""
    return Reply(status=status, content_type=None, **options)


FIVE = dropped(1, 2, 3, 4, 5)
POST: Mapping[str, Any] = {"method": "POST", "json": {"prompt": "x"}}
TWICE = {"max_retries": 2}


class Loss(NamedTuple):
    """What the server does, until it is silent for good; the gaps and the error that are told; the arguments."""

    steps: list[Reply | Refusal]
    told: Sequence[Gap | type[Exception]] = ()
    options: Mapping[str, Any] = {}
    delivered: str | None = None


def unresumable(after: str | None = "5", before: str | None = None) -> Gap:
    """Say that the server cannot resume."""
    return Gap(kind="unresumable", after_id=after, before_id=before)


def hole(before: str, missing: int) -> Gap:
    """Say that events are missing behind the fifth."""
    return Gap(kind="hole", after_id="5", before_id=before, missing=missing)


def reset(before: str) -> Gap:
    """Say that the numbering begins anew behind the fifth."""
    return Gap(kind="reset", after_id="5", before_id=before)


NUMBERED = {"sequence": integers}
NEXT = dropped(6)
LOSSES = {
    # The server says so.
    "410": Loss([FIVE, gone(410)], [unresumable(), BadStatusError]),
    "503, then 410": Loss([FIVE, gone(503), gone(410)], [unresumable(), BadStatusError], TWICE),
    "404 for as long as it is tried": Loss([FIVE, *[gone(404)] * 3], [RetriesExhaustedError], TWICE),
    "400": Loss([FIVE, gone(400)], [BadStatusError]),
    "an answer with another `Last-Event-ID`": Loss(
        [FIVE, again(*numbered(9), headers={"Last-Event-ID": "8"}), dropped(10)], [unresumable(before="8")]
    ),
    "empty answers with another `Last-Event-ID`, over and over": Loss(
        [FIVE, *[again(headers={"Last-Event-ID": "8"})] * 2, dropped(9)], [unresumable(before="8")]
    ),
    "an answer with another `Mercure-Last-Event-ID`": Loss(
        [FIVE, again(*numbered(9), headers={"Mercure-Last-Event-ID": "earliest"})],
        [unresumable(before="earliest")],
    ),
    "an answer with the `Mercure-Last-Event-ID` that was asked for": Loss(
        [FIVE, again(*numbered(6), headers={"Mercure-Last-Event-ID": "5"})]
    ),
    "204": Loss([FIVE, gone(204)]),
    # The server shows it.
    "three or more empty answers in a row": Loss(
        [FIVE, *[again()] * 4, NEXT], [unresumable()], {"max_retries": 9}
    ),
    "three empty answers, then 410": Loss(
        [FIVE, *[again()] * 3, gone(410)], [unresumable(), BadStatusError], {"max_retries": 9}
    ),
    "with `sequence`, older events that are known": Loss(
        [FIVE, dropped(1, 2, 3, 4, 5, 6)], [], NUMBERED, delivered="123456"
    ),
    "with `sequence`, a jump, also when asked again": Loss(
        [FIVE, dropped(8), dropped(8), dropped(9)], [hole("8", 2)], NUMBERED
    ),
    "with `sequence`, a history that begins later": Loss(
        [FIVE, *[dropped(100, 101)] * 2, dropped(102)], [hole("100", 94)], NUMBERED
    ),
    "with `sequence`, a snapshot under a later id, and events behind it": Loss(
        [FIVE, *[again(event("all", id="9", event="snapshot"), *numbered(10))] * 2], [hole("9", 3)], NUMBERED
    ),
    "with `sequence`, a numbering that begins anew": Loss(
        [FIVE, again(event("new", id="1"), event("newer", id="2")), again(event("newest", id="3"))],
        [reset("1")],
        NUMBERED,
    ),
    "with `sequence`, a redirect to a host with other numbers": Loss(
        [
            FIVE,
            gone(307, headers={"Location": "https://other/stream"}),
            again(event("other", id="2"), event("others", id="3")),
            again(event("other's", id="4")),
        ],
        [reset("2")],
        NUMBERED,
    ),
    "with `cursor`, a position that falls back": Loss(
        [FIVE, again(event("new", id="2"), event("newer", id="3")), again(event("newest", id="4"))],
        [reset("2")],
        {"cursor": lambda item: item.id},
    ),
    # It cannot be asked for.
    "an id that no header can carry, and none before it; at each reconnect": Loss(
        [again(event("a", id="x" * 5000)), again(), again(event("b", id="2")), dropped(3)],
        [unresumable("x" * 5000)] * 2,
        delivered="ab3",
    ),
    "an id that no header can carry, behind one that a header can": Loss(
        [FIVE, again(event("6", id="x" * 5000)), again(event("6", id="x" * 5000), *numbered(7))],
        [],
        delivered="1234567",
    ),
    "an empty `id:`": Loss([again(*numbered(1), event("a", id="")), again(event("b"))]),
    "with `resume`, `None` for a GET; at each reconnect": Loss(
        [FIVE, dropped(8), again()],
        [unresumable("5"), *[unresumable("8")] * 2],
        {"resume": lambda position, answer: None},
    ),
    "with `resume`, `None` for a POST": Loss(
        [FIVE], [NotResumableError], {**POST, "resume": lambda position, answer: None}
    ),
    "with `resume.location()`, an answer without `Location`": Loss(
        [again(event("a"))], [NotResumableError], {**POST, **resume.location()}
    ),
    "with `resume.response()`, a drop before the first event": Loss(
        [again(b"data: {")], [NotResumableError], {**POST, **resume.response()}
    ),
    "with `resume.listen_again()`, a drop; at each reconnect": Loss(
        [again(event("a")), gone(503), again(event("b")), again()],
        [unresumable(None)] * 3,
        resume.listen_again(),
    ),
    "a POST that is cut behind events without ids": Loss([again(event("a"))], [NotResumableError], POST),
    "a body that was an iterator": Loss([FIVE], [NotResumableError], {"method": "POST", "content": spent}),
    "with `resume`, a body that was an iterator": Loss(
        [FIVE], [NotResumableError], {"method": "POST", "content": spent, **resume.query("since")}
    ),
    # The store.
    "a stored position that no header can carry": Loss([], [CheckpointError], {"checkpoint": Stored("a\nb")}),
    "a stored position that another consumer has moved": Loss(
        [FIVE], [CheckpointError], {"checkpoint": Stored("0", moved=True)}
    ),
    "a stored position, and `resume` knows no way for a POST": Loss(
        [], [NotResumableError], {"checkpoint": Stored("7"), **POST, **resume.location()}
    ),
}


def words_of(loss: Loss) -> str:
    """Say in the words of the docs what is told."""
    told = {
        f"a `Gap`, `{fact.kind}`" if isinstance(fact, Gap) else f"`{fact.__name__}`": 1 for fact in loss.told
    }
    return ", then ".join(told) or "nothing"


def test_the_table_in_the_docs():
    """P61: the page has each of these situations, and says what is told."""
    rows = dict(table(text_of("reference/requests-and-answers.md"), "what happens", "what is told"))
    assert rows == {name: words_of(loss) for name, loss in LOSSES.items()}


@pytest.mark.parametrize("name", LOSSES)
@one_loop
async def test_each_loss_is_told_once(name):
    """P61: one `Gap` or one typed error for each loss, none where nothing is lost, and nothing twice."""
    loss = LOSSES[name]
    options = dict(loss.options)
    if options.get("content") is spent:
        options["content"] = spent()
    script, told, delivered = Script(), [], ""
    script.play(*loss.steps)
    script.always(Reply().hang())
    stream = make(script, on_gap=told.append, stall_timeout=None, **options)
    with anyio.move_on_after(60):
        try:
            async with stream:
                async for item in stream:
                    delivered += item.data
        except (BadStatusError, CheckpointError, NotResumableError, RetriesExhaustedError) as error:
            told.append(type(error))
    assert told == [*loss.told]
    assert stream.stats.gaps == len([fact for fact in told if isinstance(fact, Gap)])
    assert loss.delivered in (None, delivered)
