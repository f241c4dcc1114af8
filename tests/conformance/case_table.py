"""The tables under `cases/`, and how a parser is driven through one of their inputs."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_sse._core.events import Comment
from resilient_sse._core.parser import (
    Block,
    Columns,
    Comments,
    Item,
    Parser,
    RetryHint,
    comments_in,
    split_blocks,
)
from tests.conformance.reference_parser import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DIRECTORY = Path(__file__).parent / "cases"


@dataclass(frozen=True)
class Case:
    """
    One row: an input and everything a parser must say about it.

    *rule* is the rule that decides it, in our words, and *origin* where the rule or the input is found: a
    paragraph of a standard, the web platform test, the contract test or the study that asks for it.  *limit*
    is `max_event_bytes`.
    """

    name: str
    group: str
    origin: str
    rule: str
    stream: bytes
    expected: Reading
    limit: int | None = None

    @property
    def events(self) -> list[tuple[str, str, str]]:
        """What a browser would show: type, data and the id in force of each event."""
        events = []
        last = ""
        for item in self.expected.items:
            if isinstance(item, Block):
                last = last if item.id is None else item.id
                if item.data is not None:
                    events.append((item.event or "message", item.data, last))
        return events


def load() -> list[Case]:
    """Read every table, in a stable order."""
    return [
        _case(path.stem, row)
        for path in sorted(DIRECTORY.glob("*.json"))
        for row in json.loads(path.read_text(encoding="utf-8"))
    ]


def drive(chunks: Iterable[bytes], limit: int | None = None) -> Reading:
    """Feed *chunks* to a fresh parser, by either lane, until they end or the limit trips."""
    chunks = list(chunks)
    outcome = _drive(chunks, limit)
    told = _drive(chunks, limit, whatever)
    told.items[:] = [item for item in told.items if not isinstance(item, RetryHint)]
    known = [
        item for item in outcome.items if not isinstance(item, RetryHint)
    ]  # which are told with their blocks here
    assert told == replace(outcome, items=known), "the two lanes of the parser disagree"
    return outcome


def whatever(text: str) -> list[Item]:
    """Write out what *text* stands for, whatever the form of its blocks."""
    if isinstance(text, Comments):
        return [*comments_in(text)]
    found = split_blocks(text)
    if isinstance(found, Columns):
        ids = found.ids or [None] * len(found.data)
        return [Block(found.event, data, own) for own, data in zip(ids, found.data, strict=True)]
    items: list[Item] = []
    for said, block, has_id, event_id, event, _, has_data, data, retry, inner in found:
        items += comments_in(said) + (comments_in(block) if inner else [])
        if has_id or has_data or retry:
            wait = int(retry) if retry else None
            items.append(Block(event, data if has_data else None, event_id if has_id else None, wait))
    return items


def _drive(
    chunks: list[bytes], limit: int | None, split_blocks: Callable[[str], list[Item]] | None = None
) -> Reading:
    parser = Parser(max_event_bytes=limit)
    items: list[Item] = []
    for chunk in chunks:
        if split_blocks is None:
            items.extend(parser.feed(chunk))
        else:
            for found in parser.feed_fast(chunk):
                items += split_blocks(found) if isinstance(found, str) else [found]
        if parser.overflow is not None:
            return Reading(items, partial=False, overflow=True)
    return Reading(items, partial=parser.finish(), overflow=False)


def two_way_cuts(stream: bytes, dense: int = 300) -> Iterator[list[bytes]]:
    """
    Cut *stream* in two at every position, with an empty chunk in between.

    Of longer streams only the positions near a byte that is not a plain letter are taken, and every 64th.
    """
    for position in range(len(stream) + 1):
        near = stream[max(0, position - 2) : position + 2]
        if len(stream) <= dense or position % 64 == 0 or not near.isalnum():
            yield [stream[:position], b"", stream[position:]]


def single_bytes(stream: bytes) -> list[bytes]:
    """Cut *stream* into its bytes."""
    return [stream[position : position + 1] for position in range(len(stream))]


def _case(group: str, row: dict[str, Any]) -> Case:
    text, raw = row.pop("input", ""), row.pop("input_hex", "")
    items = [_item(*item) for told in row.pop("items") for item in told.items()]
    expected = Reading(items, row.pop("partial", False), row.pop("overflow", False))
    return Case(group=group, stream=text.encode() or bytes.fromhex(raw), expected=expected, **row)


def _item(kind: str, value: Any) -> Item:
    if kind == "block":
        return Block(**{"event": "", "data": None, "id": None, "retry": None} | value)
    return {"comment": Comment, "retry": RetryHint}[kind](value)
