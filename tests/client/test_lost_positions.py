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
from tests.client.support import make, numbered


class Stored:
    """A store that holds one position, at a version of its own."""

    def __init__(self, position: str, *, moved: bool = False) -> None:
        self._position = Checkpoint(position, version=1)
        self._moved = moved

    async def load(self, _key: str) -> Checkpoint:
        return self._position

    async def save(self, key: str, last_event_id: str, *, expected: Checkpoint | None) -> Checkpoint:
        if self._moved:
            raise CheckpointError("another consumer has moved this position", key=key)
        self._position = Checkpoint(last_event_id, version=1 if expected is None else expected.version + 1)
        return self._position


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
    "503-and-then-410": Loss(
        steps=(FIVE, gone(503), gone(410)), gaps=unresumable(), error=BadStatusError, options=TWICE
    ),
    "404-for-good": Loss(steps=(FIVE, *[gone(404)] * 3), error=RetriesExhaustedError, options=TWICE),
    "400-for-the-id": Loss(steps=(FIVE, gone(400)), error=BadStatusError),
    "another-id": Loss(
        steps=(FIVE, again(*numbered(9), headers={"Last-Event-ID": "8"}), again(*numbered(10))),
        gaps=unresumable(before="8"),
    ),
    "another-id-over-and-over": Loss(
        steps=(FIVE, *[again(headers={"Last-Event-ID": "8"})] * 2, again(*numbered(9))),
        gaps=unresumable(before="8"),
    ),
    "another-id-of-mercure": Loss(
        steps=(FIVE, again(*numbered(9), headers={"Mercure-Last-Event-ID": "earliest"})),
        gaps=unresumable(before="earliest"),
    ),
    "the-id-of-mercure": Loss(steps=(FIVE, again(*numbered(6), headers={"Mercure-Last-Event-ID": "5"}))),
    "204": Loss(steps=(FIVE, gone(204))),
    # The server shows it.
    "empty-answers": Loss(steps=(FIVE, *[again()] * 4, NEXT), gaps=unresumable(), options={"max_retries": 9}),
    "empty-answers-and-then-410": Loss(
        steps=(FIVE, *[again()] * 3, gone(410)),
        gaps=unresumable(),
        error=BadStatusError,
        options={"max_retries": 9},
    ),
    "older-ids": Loss(steps=(FIVE, again(*numbered(1, 2, 3, 4, 5, 6))), options=NUMBERED, delivered="123456"),
    "a-jump": Loss(
        steps=(FIVE, again(*numbered(8)), again(*numbered(8)), again(*numbered(9))),
        gaps=(Gap(kind="hole", after_id="5", before_id="8", missing=2),),
        options=NUMBERED,
    ),
    "trimmed": Loss(
        steps=(FIVE, *[again(*numbered(100, 101))] * 2, again(*numbered(102))),
        gaps=(Gap(kind="hole", after_id="5", before_id="100", missing=94),),
        options=NUMBERED,
    ),
    "snapshot-first": Loss(
        steps=(FIVE, *[again(event("all", id="9", event="snapshot"), *numbered(10))] * 2),
        gaps=(Gap(kind="hole", after_id="5", before_id="9", missing=3),),
        options=NUMBERED,
    ),
    "a-reset-numbering": Loss(
        steps=(FIVE, again(event("new", id="1"), event("newer", id="2")), again(event("newest", id="3"))),
        gaps=(Gap(kind="reset", after_id="5", before_id="1"),),
        options=NUMBERED,
    ),
    "another-host": Loss(
        steps=(
            FIVE,
            gone(307, headers={"Location": "https://other/stream"}),
            again(event("other", id="2"), event("others", id="3")),
            again(event("other's", id="4")),
        ),
        gaps=(Gap(kind="reset", after_id="5", before_id="2"),),
        options=NUMBERED,
    ),
    "a-cursor-that-falls-back": Loss(
        steps=(FIVE, again(event("new", id="2"), event("newer", id="3")), again(event("newest", id="4"))),
        gaps=(Gap(kind="reset", after_id="5", before_id="2"),),
        options={"cursor": lambda item: item.id},
    ),
    # It cannot be asked for.
    "no-header-can-carry-it": Loss(
        steps=(again(event("a", id="x" * 5000)), again(), again(event("b", id="2")), again(*numbered(3))),
        gaps=unresumable("x" * 5000) * 2,
        delivered="ab3",
    ),
    "no-header-can-carry-the-last": Loss(
        steps=(FIVE, again(event("6", id="x" * 5000)), again(event("6", id="x" * 5000), *numbered(7))),
        delivered="1234567",
    ),
    "the-server-clears-it": Loss(steps=(again(*numbered(1), event("a", id="")), again(event("b")))),
    "resume-knows-no-way": Loss(
        steps=(FIVE, again(*numbered(8)), again()),
        gaps=(*unresumable("5"), *unresumable("8") * 2),
        options={"resume": lambda position, answer: None},
    ),
    "resume-knows-no-way-for-a-post": Loss(
        steps=(FIVE,), error=NotResumableError, options={**POST, "resume": lambda position, answer: None}
    ),
    "a-post-without-its-location": Loss(
        steps=(again(event("a")),), error=NotResumableError, options={**POST, **resume.location()}
    ),
    "a-response-without-its-id": Loss(
        steps=(again(b"data: {"),), error=NotResumableError, options={**POST, **resume.response()}
    ),
    "listen-again": Loss(
        steps=(again(event("a")), gone(503), again(event("b")), again()),
        gaps=unresumable(None) * 3,
        options=resume.listen_again(),
    ),
    "a-post-without-an-id": Loss(steps=(again(event("a")),), error=NotResumableError, options=POST),
    "a-body-that-is-spent": Loss(
        steps=(FIVE,), error=NotResumableError, options={"method": "POST", "content": spent}
    ),
    "a-body-that-is-spent-with-resume": Loss(
        steps=(FIVE,),
        error=NotResumableError,
        options={"method": "POST", "content": spent, **resume.query("since")},
    ),
    # The store.
    "a-stored-position-that-no-header-can-carry": Loss(
        steps=(), error=CheckpointError, options={"checkpoint": Stored("a\nb")}
    ),
    "another-consumer": Loss(
        steps=(FIVE,), error=CheckpointError, options={"checkpoint": Stored("0", moved=True)}
    ),
    "a-stored-position-without-a-way": Loss(
        steps=(), error=NotResumableError, options={"checkpoint": Stored("7"), **POST, **resume.location()}
    ),
}


@pytest.mark.parametrize("name", LOSSES)
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
