"""How an answer's body goes over the wire, and when the client has read which part of it."""

import json
from dataclasses import dataclass, replace
from itertools import groupby
from random import Random

from resilient_sse.testing import Pause, event
from tests.simulation.log import Published


@dataclass(frozen=True, slots=True)
class Piece:
    """
    A block of a body, and what the client has when it has read it.

    *heartbeat* is whether it is one without a number of its own, *alone* whether it counts without the blank line,
    *retry* its milliseconds.
    """

    data: bytes
    event: Published | None = None
    heartbeat: bool = False
    alone: bool = False
    retry: int | None = None


def written(event_, *, json_ids):
    """Write an event; with *json_ids* its id is in its data only."""
    kind = event_.what.type
    named = None if kind == "message" else kind
    return Piece(event(event_.data, id=None if json_ids else event_.id, event=named), event_)


def beat(event_id, *, json_ids):
    """Write a heartbeat, perhaps with an id that was used."""
    data = json.dumps({"n": event_id}) if json_ids and event_id else "beat"
    return Piece(event(data, event="heartbeat", id=None if json_ids else event_id), heartbeat=True)


def cut(pieces, answer, *, chunk, seed):
    """
    Cut a body off where its connection ends, and into reads.

    Returns:
        The chunks and pauses, and pairs of how many bytes must be read for which piece to have arrived.
    """
    end = b"\r\n" if answer.crlf else b"\n"
    pieces = [
        each if isinstance(each, Pause) else replace(each, data=each.data.replace(b"\n", end))
        for each in pieces
    ]
    keep = round(answer.keep * sum(len(each.data) for each in pieces if isinstance(each, Piece)))
    parts, marks, at = [], [], 0
    for each in pieces:
        if isinstance(each, Pause):
            parts.append(each)
            continue
        # The CR of a last CRLF already ends the line, and with it the block.
        ends = each.data.count(end) if each.alone else 1
        whole = at + len(each.data) - ends * len(end) + 1
        parts.append(each.data[: keep - at])
        at = min(at + len(each.data), keep)
        if whole <= keep:
            marks.append((whole, each))
        if at >= keep:
            break
    return list(_reads(parts, chunk, Random(seed)) if chunk else parts), marks


def _reads(parts, size, random):
    """Join and cut at random places: reads of *size* bytes on average that heed no block's borders."""
    for is_pause, group in groupby(parts, lambda part: isinstance(part, Pause)):
        run = list(group)
        if is_pause:
            yield from run
            continue
        data = b"".join(run)
        while len(data) >= 2 * size:
            at = random.randint(1, 2 * size - 1)
            yield data[:at]
            data = data[at:]
        yield data
