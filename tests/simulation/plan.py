"""
The script of one run, as data: what the server does, request by request, and what the consumer does.

A seed generates a plan (`generate`), and a plan alone decides the run.  It can be printed, edited by hand and
played again, which is how a failure is made small.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar, cast, get_args

from resilient_sse._core.backoff import Backoff
from resilient_sse.testing.clock import BackendName
from tests.simulation.words import (
    AnswerKind,
    DeedKind,
    End,
    Redirect,
    Rule,
    Token,
    check_redirect,
    check_rule,
    check_token,
    check_word,
)

__all__ = ["Answer", "Deed", "Options", "Plan"]

_TIMED: frozenset[DeedKind] = frozenset({"restart", "aclose"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """
    The arguments of the stream, by the names of `ResilientStream`.

    There are these exceptions: *sequence* is whether `sequence=integers`, *backoff* its four numbers, *filtered*
    whether events of the type `other` are filtered out, *checkpoint* whether there is one, and *again* how often
    the consumer iterates again after an error.  *body* is whether that of a POST can be sent again or is an
    iterator, *credentials* whether there are headers with a token, and whether a function makes a fresh one for
    each attempt, *classify* what that hook says, *raises* that every so-manyth call of an observer or a callback
    fails (0: there are none), *activity* whether the consumer iterates over `activity()`, *unwatched* whether
    there is no observer and no `until`, so that reads are judged in batches if nothing else looks at single
    events, and *rising* whether opaque ids are numbers that rise, over restarts of the server too.
    """

    sequence: bool = True
    dedup: Literal["always", "replay", "off"] = "always"
    dedup_window: int = 1000
    checkpoint: bool = True
    ack: Literal["auto", "manual"] = "auto"
    stall_timeout: float = 30.0
    event_timeout: float | None = None
    stall_on: Literal["bytes", "frames", "events"] = "bytes"
    on_eof: Literal["reconnect", "complete"] = "reconnect"
    max_retries: int | None = 5
    max_server_delay: float = 60.0
    backoff: tuple[float, float, float, float] = (1.0, 2.0, 5.0, 0.1)
    compression: bool = False
    filtered: bool = False
    again: int = 3
    method: Literal["GET", "POST"] = "GET"
    body: Literal["again", "once"] = "again"
    credentials: Literal["none", "fixed", "fresh"] = "none"
    classify: tuple[Rule, ...] = ()
    raises: int = 0
    activity: bool = False
    unwatched: bool = False
    rising: bool = False

    @property
    def pace(self) -> Backoff:
        """The backoff."""
        return Backoff(*self.backoff)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    What one request meets.

    Attributes:
        kind: What it is.
        redirects: What leads to it, one redirect after the other.
        restart: Before it, the server lost all it had stored, and counts from 1 again.
        away: So many events were published before it, while nobody was connected.
        expire: Before it, the server lost so many of the events that the client has not seen.
        status: For kind `status`: its code.
        retry_after: For kind `status`: that header, in seconds; `None` for none.
        as_date: Whether the header is a date.
        announce: A resume that is not possible is answered with a `Last-Event-ID` header that says so.
        after: Seconds until the response headers.
        overlap: A replay begins so many events too early.
        page: A replay ends after so many events, `None` for never; nothing live follows it then.
        omit: A replay leaves out so many events at its beginning, although the server has them.
        live: What happens afterwards.
        keep: The share of the body's bytes that arrive before the end.
        end: How it ends.
        chunk: Bytes per read, about; `None` for one read per block.
        crlf: Lines end with CRLF.
        gzip: The body is compressed.
        close_takes: Seconds that closing takes on the client's side.
    """

    kind: AnswerKind = "stream"
    redirects: tuple[Redirect, ...] = ()
    restart: bool = False
    away: int = 0
    expire: int = 0
    status: int = 503
    retry_after: int | None = None
    as_date: bool = False
    announce: bool = False
    after: float = 0.0
    overlap: int = 0
    page: int | None = None
    omit: int = 0
    live: tuple[Token, ...] = ()
    keep: float = 1.0
    end: End = "drop"
    chunk: int | None = None
    crlf: bool = False
    gzip: bool = False
    close_takes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """
    Something that the consumer does.

    `slow` handles the event for *seconds*; `cancel` cancels the read after the event by a cancel scope,
    `cancel-task` by cancelling the task that reads, *seconds* after it began; `raise` and `crash` leave the
    stream while the event is being handled, and a new process begins at the checkpoint; `restart` and `aclose`
    call these methods from another task, *seconds* after the start of the run, or `restart` while the event is
    being handled.

    Attributes:
        kind: What.
        event: At which event handed over, counted from 1 over the whole run; 0 for none.
        seconds: See above.
    """

    kind: DeedKind
    event: int = 0
    seconds: float = 0.0

    @property
    def timed(self) -> bool:
        """Whether it happens at a time and not at an event."""
        return self.kind in _TIMED and not self.event


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    A whole run.  When the answers are used up, the server is well again and sends what is left and an end.

    Attributes:
        seed: Where it came from; it also seeds the jitter.
        backend: The event loop.
        options: The stream's arguments.
        answers: What the requests meet, in order.
        deeds: What the consumer does.
    """

    seed: int = 0
    backend: BackendName = "asyncio"
    options: Options = field(default_factory=Options)
    answers: tuple[Answer, ...] = ()
    deeds: tuple[Deed, ...] = ()

    def to_json(self) -> str:
        """Return the plan as JSON, one line for each answer and deed, without what is at its default."""
        lines = [
            "{",
            f' "seed": {self.seed},',
            f' "backend": {json.dumps(self.backend)},',
            f' "options": {json.dumps(_changed(self.options))},',
            f' "answers": [{_rows(self.answers)}],',
            f' "deeds": [{_rows(self.deeds)}]',
            "}",
        ]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """
        Read a plan.

        Raises:
            ValueError: The text is no plan; it says what is wrong with it.
        """
        found = _object("plan", json.loads(text))
        known = {"seed", "backend", "options", "answers", "deeds"}
        _check_names("plan", found, known)
        plan = cls(
            seed=found.get("seed", 0),
            backend=found.get("backend", "asyncio"),
            options=_read(Options, found.get("options", {})),
            answers=tuple(_read(Answer, each) for each in found.get("answers", ())),
            deeds=tuple(_read(Deed, each) for each in found.get("deeds", ())),
        )
        plan.check()
        return plan

    def check(self) -> None:
        """
        Check what a hand may have written wrongly.

        Raises:
            ValueError: A word is unknown; the others are named.
        """
        check_word("backend", self.backend, get_args(BackendName))
        check_word("options: method", self.options.method, ("GET", "POST"))
        check_word("options: body", self.options.body, ("again", "once"))
        check_word("options: credentials", self.options.credentials, ("none", "fixed", "fresh"))
        for rule in self.options.classify:
            check_rule(rule)
        for answer in self.answers:
            check_word("answers: kind", answer.kind, get_args(AnswerKind))
            check_word("answers: end", answer.end, get_args(End))
            for redirect in answer.redirects:
                check_redirect(redirect)
            for token in answer.live:
                check_token(token)
        for deed in self.deeds:
            check_word("deeds: kind", deed.kind, get_args(DeedKind))


PartT = TypeVar("PartT", Options, Answer, Deed)


def _changed(part: Options | Answer | Deed) -> dict[str, Any]:
    values = asdict(part)
    first = {"kind": values.pop("kind")} if "kind" in values else {}
    defaults = {each.name: each.default for each in fields(part)}
    return first | {name: value for name, value in values.items() if value != defaults[name]}


def _rows(parts: tuple[Answer, ...] | tuple[Deed, ...]) -> str:
    return ",".join(f"\n  {json.dumps(_changed(part))}" for part in parts) + ("\n " if parts else "")


def _object(what: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ValueError(f"{what}: an object is wanted, not {found!r}")  # noqa: TRY004 - the text is wrong, not a type
    return cast("dict[str, Any]", found)


def _read(kind: type[PartT], found: Any) -> PartT:
    what = kind.__name__.lower()
    values = _object(what, found)
    _check_names(what, values, {each.name for each in fields(kind)})
    if kind is Deed and "kind" not in values:
        raise ValueError("deed: kind is missing")
    return kind(**{name: _frozen(value) for name, value in values.items()})


def _frozen(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
    return tuple(items)


def _check_names(what: str, found: dict[str, Any], known: set[str]) -> None:
    strange = sorted(found.keys() - known)
    if strange:
        raise ValueError(f"{what}: there is no {strange[0]!r}; the names are {', '.join(sorted(known))}")
