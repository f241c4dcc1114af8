"""Every way to lose a position is told by one `Gap` or by one typed error, exactly once (P61)."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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
from tests.client.support import Store, make, numbered, one_loop
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


FIVE = again(*numbered(1, 2, 3, 4, 5))
POST: Mapping[str, Any] = {"method": "POST", "json": {"prompt": "x"}}
TWICE = {"max_retries": 2}


@dataclass(frozen=True, kw_only=True)
class Loss:
    """
    A situation.

    Attributes:
        steps: What the server does, one answer after another; then it is silent for good.
        gaps: The gaps that are told.
        error: The error that ends the stream.
        options: The arguments of the stream.
        delivered: What comes, if that is worth saying.
    """

    steps: tuple[Reply | Refusal, ...]
    gaps: tuple[Gap, ...] = ()
    error: type[Exception] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    delivered: str | None = None


def unresumable(after: str | None = "5", before: str | None = None) -> tuple[Gap]:
    """Say that the server cannot resume."""
    return (Gap(kind="unresumable", after_id=after, before_id=before),)


NUMBERED = {"sequence": integers}
NEXT = again(*numbered(6))
LOSSES = {
    # The server says so.
    "410": Loss(steps=(FIVE, gone(410)), gaps=unresumable(), error=BadStatusError),
    "503, then 410": Loss(
        steps=(FIVE, gone(503), gone(410)), gaps=unresumable(), error=BadStatusError, options=TWICE
    ),
    "404 for as long as it is tried": Loss(
        steps=(FIVE, *[gone(404)] * 3), error=RetriesExhaustedError, options=TWICE
    ),
    "400": Loss(steps=(FIVE, gone(400)), error=BadStatusError),
    "an answer with another `Last-Event-ID`": Loss(
        steps=(FIVE, again(*numbered(9), headers={"Last-Event-ID": "8"}), again(*numbered(10))),
        gaps=unresumable(before="8"),
    ),
    "empty answers with another `Last-Event-ID`, over and over": Loss(
        steps=(FIVE, *[again(headers={"Last-Event-ID": "8"})] * 2, again(*numbered(9))),
        gaps=unresumable(before="8"),
    ),
    "an answer with another `Mercure-Last-Event-ID`": Loss(
        steps=(FIVE, again(*numbered(9), headers={"Mercure-Last-Event-ID": "earliest"})),
        gaps=unresumable(before="earliest"),
    ),
    "an answer with the `Mercure-Last-Event-ID` that was asked for": Loss(
        steps=(FIVE, again(*numbered(6), headers={"Mercure-Last-Event-ID": "5"}))
    ),
    "204": Loss(steps=(FIVE, gone(204))),
    # The server shows it.
    "three or more empty answers in a row": Loss(
        steps=(FIVE, *[again()] * 4, NEXT), gaps=unresumable(), options={"max_retries": 9}
    ),
    "three empty answers, then 410": Loss(
        steps=(FIVE, *[again()] * 3, gone(410)),
        gaps=unresumable(),
        error=BadStatusError,
        options={"max_retries": 9},
    ),
    "with `sequence`, older events that are known": Loss(
        steps=(FIVE, again(*numbered(1, 2, 3, 4, 5, 6))), options=NUMBERED, delivered="123456"
    ),
    "with `sequence`, a jump, also when asked again": Loss(
        steps=(FIVE, again(*numbered(8)), again(*numbered(8)), again(*numbered(9))),
        gaps=(Gap(kind="hole", after_id="5", before_id="8", missing=2),),
        options=NUMBERED,
    ),
    "with `sequence`, a history that begins later": Loss(
        steps=(FIVE, *[again(*numbered(100, 101))] * 2, again(*numbered(102))),
        gaps=(Gap(kind="hole", after_id="5", before_id="100", missing=94),),
        options=NUMBERED,
    ),
    "with `sequence`, a snapshot under a later id, and events behind it": Loss(
        steps=(FIVE, *[again(event("all", id="9", event="snapshot"), *numbered(10))] * 2),
        gaps=(Gap(kind="hole", after_id="5", before_id="9", missing=3),),
        options=NUMBERED,
    ),
    "with `sequence`, a numbering that begins anew": Loss(
        steps=(FIVE, again(event("new", id="1"), event("newer", id="2")), again(event("newest", id="3"))),
        gaps=(Gap(kind="reset", after_id="5", before_id="1"),),
        options=NUMBERED,
    ),
    "with `sequence`, a redirect to a host with other numbers": Loss(
        steps=(
            FIVE,
            gone(307, headers={"Location": "https://other/stream"}),
            again(event("other", id="2"), event("others", id="3")),
            again(event("other's", id="4")),
        ),
        gaps=(Gap(kind="reset", after_id="5", before_id="2"),),
        options=NUMBERED,
    ),
    "with `cursor`, a position that falls back": Loss(
        steps=(FIVE, again(event("new", id="2"), event("newer", id="3")), again(event("newest", id="4"))),
        gaps=(Gap(kind="reset", after_id="5", before_id="2"),),
        options={"cursor": lambda item: item.id},
    ),
    # It cannot be asked for.
    "an id that no header can carry, and none before it; at each reconnect": Loss(
        steps=(again(event("a", id="x" * 5000)), again(), again(event("b", id="2")), again(*numbered(3))),
        gaps=unresumable("x" * 5000) * 2,
        delivered="ab3",
    ),
    "an id that no header can carry, behind one that a header can": Loss(
        steps=(FIVE, again(event("6", id="x" * 5000)), again(event("6", id="x" * 5000), *numbered(7))),
        delivered="1234567",
    ),
    "an empty `id:`": Loss(steps=(again(*numbered(1), event("a", id="")), again(event("b")))),
    "with `resume`, `None` for a GET; at each reconnect": Loss(
        steps=(FIVE, again(*numbered(8)), again()),
        gaps=(*unresumable("5"), *unresumable("8") * 2),
        options={"resume": lambda position, answer: None},
    ),
    "with `resume`, `None` for a POST": Loss(
        steps=(FIVE,), error=NotResumableError, options={**POST, "resume": lambda position, answer: None}
    ),
    "with `resume.location()`, an answer without `Location`": Loss(
        steps=(again(event("a")),), error=NotResumableError, options={**POST, **resume.location()}
    ),
    "with `resume.response()`, a drop before the first event": Loss(
        steps=(again(b"data: {"),), error=NotResumableError, options={**POST, **resume.response()}
    ),
    "with `resume.listen_again()`, a drop; at each reconnect": Loss(
        steps=(again(event("a")), gone(503), again(event("b")), again()),
        gaps=unresumable(None) * 3,
        options=resume.listen_again(),
    ),
    "a POST that is cut behind events without ids": Loss(
        steps=(again(event("a")),), error=NotResumableError, options=POST
    ),
    "a body that was an iterator": Loss(
        steps=(FIVE,), error=NotResumableError, options={"method": "POST", "content": spent}
    ),
    "with `resume`, a body that was an iterator": Loss(
        steps=(FIVE,),
        error=NotResumableError,
        options={"method": "POST", "content": spent, **resume.query("since")},
    ),
    # The store.
    "a stored position that no header can carry": Loss(
        steps=(), error=CheckpointError, options={"checkpoint": Stored("a\nb")}
    ),
    "a stored position that another consumer has moved": Loss(
        steps=(FIVE,), error=CheckpointError, options={"checkpoint": Stored("0", moved=True)}
    ),
    "a stored position, and `resume` knows no way for a POST": Loss(
        steps=(), error=NotResumableError, options={"checkpoint": Stored("7"), **POST, **resume.location()}
    ),
}


def told(loss: Loss) -> str:
    """Say in the words of the docs what is told."""
    kinds = {gap.kind for gap in loss.gaps}
    gap = f"a `Gap`, `{kinds.pop()}`" if kinds else ""
    error = f"`{loss.error.__name__}`" if loss.error else ""
    return ", then ".join(filter(None, (gap, error))) or "nothing"


def test_the_table_in_the_docs():
    """P61: the page has each of these situations, and says what is told."""
    rows = dict(table(text_of("reference/requests-and-answers.md"), "what happens", "what is told"))
    assert rows == {name: told(loss) for name, loss in LOSSES.items()}


@pytest.mark.parametrize("name", LOSSES)
@one_loop
async def test_each_loss_is_told_once(name):
    """P61: one `Gap` or one typed error for each loss, none where nothing is lost, and nothing twice."""
    loss = LOSSES[name]
    options = dict(loss.options)
    if options.get("content") is spent:
        options["content"] = spent()
    script, gaps, errors, delivered = Script(), [], [], ""
    script.play(*loss.steps)
    script.always(Reply().hang())
    stream = make(script, on_gap=gaps.append, stall_timeout=None, **options)
    with anyio.move_on_after(60):
        try:
            async with stream:
                async for item in stream:
                    delivered += item.data
        except (BadStatusError, CheckpointError, NotResumableError, RetriesExhaustedError) as error:
            errors.append(type(error))
    assert stream.stats.gaps == len(loss.gaps)
    assert tuple(gaps) == loss.gaps
    assert errors == ([] if loss.error is None else [loss.error])
    assert delivered == (delivered if loss.delivered is None else loss.delivered)
