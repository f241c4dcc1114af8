from __future__ import annotations

import re

import pytest

from resilient_sse._core.delivery import Delivery
from resilient_sse._core.events import Gap, ServerSentEvent
from resilient_sse._core.options import StreamOptions
from resilient_sse._core.parser import Block
from resilient_sse._core.sequence import State, integers
from resilient_sse._core.stats import StreamStats


@pytest.mark.parametrize(
    "event_id, number",
    [("0", 0), ("7", 7), ("-1", -1), ("007", 7), ("9" * 40, int("9" * 40)), ("-" + "9" * 39, -int("9" * 39))],
)
def test_integers(event_id, number):
    """Decimal integers number their events (X14, R148)."""
    assert integers(event_id) == number


@pytest.mark.parametrize(
    "event_id",
    [
        "",
        " 1",
        "1 ",
        "9" * 41,
        "-" + "9" * 40,
        *["-", "--1", "+1", "1.0", "1e3", "0x10", "1_000", "a", "٣", "²"],
    ],
    ids=ascii,
)
def test_ids_that_are_no_integers(event_id):
    """What int() would generously accept is no number here, and neither is one of absurd length (X14)."""
    with pytest.raises(ValueError, match="not an integer id"):
        integers(event_id)


# A stream of numbers, played


def play(script: str, **options) -> tuple[str, StreamStats]:
    """
    Play what the wire brings, word by word, and write down what the consumer gets, and figures.

    `5` is an event with this number, `5new` one with other content, `5~` a heartbeat, `5!` an id alone, `x` an
    event without an id and `=a` one with an id that is no number; `5..8` are several.  `|` is the next connection,
    `.` the end of one that has told nothing more, `^` the order to wait no longer.  Of what comes out, `(1-3)` is
    a hole, `<5>1>` a new numbering, and `?` at the end says that the connection is to be replaced.
    """
    stats = StreamStats()
    source = Delivery(StreamOptions(**{"dedup": "always", "sequence": integers, **options}), stats)
    source.connected(1, resumed=source.cursor is not None)
    connection, told = 1, []
    for part in re.split(r" *([|.^])", re.sub(r"(-?\d+)\.\.(\d+)(\w*)", _several, script)):
        if part == "|":
            connection += 1
            source.connected(connection, resumed=True)
        elif part in (".", "^"):
            source.sequence.settle() if part == "." else source.sequence.release()
        for word in part.split() if part not in ("|", ".", "^") else ():
            number, kind = re.fullmatch(r"(-?\d*)(.*)", word).groups()
            if kind in ("~", "!"):
                source.put(Block("heartbeat", "{}" if kind == "~" else None, number or None))
            else:
                source.put(Block("", f"{kind} {number}", kind[1:] if kind[:1] == "=" else number or None))
        if source.sequence.state is State.ASKING:
            source.sequence.hold()  # as the session does
        while (item := source.take()) is not None or source.unfinished:
            told += [_written(item)] if isinstance(item, Gap | ServerSentEvent) else []
        assert stats.received == stats.delivered + stats.duplicates + stats.heartbeats + stats.filtered
    return " ".join([*told, *("?" if source.sequence.state is State.ASKING else "")]), stats


def _written(item: Gap | ServerSentEvent) -> str:
    if isinstance(item, ServerSentEvent):
        return "x" if item.id is None else item.id
    return (
        f"({item.after_id}-{item.before_id})"
        if item.kind == "hole"
        else f"<{item.after_id}>{item.before_id}>"
    )


def _several(match: re.Match) -> str:
    return " ".join(f"{number}{match[3]}" for number in range(int(match[1]), int(match[2]) + 1))


@pytest.mark.parametrize(
    "script, told",
    [
        pytest.param("5..9", "5 6 7 8 9", id="contiguous"),
        pytest.param("-1 0 1", "-1 0 1", id="below-zero"),
        pytest.param("1 x =opaque = 2", "1 x opaque  2", id="without-a-number"),
        pytest.param("1 2~ 3 5~", "1 3 ?", id="heartbeats-have-numbers"),
        pytest.param("1 2 4 5 6", "1 2 ?", id="held-back"),
        pytest.param("1..3 6 7 | 4..8", "1 2 3 4 5 6 7 8", id="healed"),
        pytest.param("1 2 4 | 1..4", "1 2 3 4", id="healed-by-an-overlap"),
        pytest.param("1 5 | 2 | 3..5", "1 2 3 4 5", id="replay-cut-and-resumed"),
        pytest.param("1old 3old | 2new 3new", "1 2 3 3", id="another-event-in-the-place-of-a-held-one"),
        pytest.param("1 5 | 2 3 | 4", "1 2 3 4 5", id="replay-ends-before-what-is-held"),
        pytest.param("1 3 | | 2 3", "1 2 3", id="an-empty-connection-decides-nothing"),
        pytest.param("1 3 | 1 | 2 3", "1 2 3", id="an-old-number-decides-nothing"),
        pytest.param("1 3 | x | 2 3", "1 x 2 3", id="no-number-decides-nothing"),
        pytest.param("1..6 9 10 | 9..11", "1 2 3 4 5 6 (6-9) 9 10 11", id="not-replayed"),
        pytest.param("1 3 | 4", "1 (1-3) 3 4", id="asked-for-once"),
        pytest.param("1 3 | 6 7", "1 (1-3) 3 (3-6) 6 7", id="gone-on-meanwhile"),
        pytest.param("1 3 5 | 2..6", "1 2 3 4 5 6", id="two-healed-at-once"),
        pytest.param("1 3 6 | 3 6", "1 (1-3) 3 (3-6) 6", id="two-lost"),
        pytest.param("1 3 | 2 3 5 | 4 5", "1 2 3 4 5", id="a-further-hole-has-its-chance"),
        pytest.param("1 3 | 4 6", "1 (1-3) 3 4 ?", id="so-has-one-behind-a-reported-one"),
        pytest.param("1 5 6 | 3..7", "1 (1-3) 3 4 5 6 7", id="replay-begins-inside"),
        pytest.param("1 2 | 5 | 5", "1 2 (2-5) 5", id="at-the-first-of-a-connection"),
        pytest.param("1 3 4 ^", "1 (1-3) 3 4", id="released"),
        pytest.param("1 3 ^ | 5", "1 (1-3) 3 ?", id="released-excuses-no-later-one"),
        pytest.param("1 3 x 4 | 2", "1 2 3 x 4", id="what-follows-the-held-stays-behind"),
        pytest.param("1 3 | 3 4 | 1..5", "1 (1-3) 3 4 5", id="late-and-dropped"),
        pytest.param("1 5 | 5 6 3new 4new", "1 (1-5) 5 6 <6>3> 3 4", id="back-into-a-reported-hole"),
    ],
)
def test_holes(script, told):
    """A hole is asked for once and healed; what is not replayed is one gap, in its place (R34-R37, R63, P22)."""
    got, stats = play(script)
    assert got == told
    holes = re.findall(r"\((-?\d+)-(-?\d+)\)", told)
    assert stats.lost == sum(int(before) - int(after) - 1 for after, before in holes)
    assert stats.gaps == len(holes) + told.count("<")


@pytest.mark.parametrize(
    "script, told",
    [
        pytest.param("1..20 | 16..25", " ".join(map(str, range(1, 26))), id="a-replay-is-none"),
        pytest.param("491..500old | 1..9new .", "<500>1> " + " ".join("123456789"), id="far-back"),
        pytest.param("1..5old | 1..7new", "<5>1> " + " ".join("1234567"), id="within-the-window"),
        pytest.param("1old | 1new 2new", "<1>1> 1 2", id="the-first-number-again"),
        pytest.param("1..5old | 5new 6new", "<5>5> 5 6", id="the-last-number-again"),
        pytest.param("1 3 | ^ 3new", "(1-3) 3 <3>3> 3", id="behind-what-was-held"),
        pytest.param("4 7 | 7 | 6new 7new 8new", "(4-7) 7 <7>6> 6 7 8", id="inside-a-reported-hole"),
        pytest.param("1old | 1~ 1new 2new", "<1>1> 1 2", id="behind-a-heartbeat-with-the-last-id"),
        pytest.param("1old | 1! 1new 2new", "<1>1> 1 2", id="behind-the-last-id-alone"),
        pytest.param("1 2 2again | 2 2third 3", "2 2 3", id="an-id-used-twice-is-none"),
        pytest.param("1..3old 3again | 1new 2new 3again", "3 <3>1> 1 2 3", id="suppresses-nothing"),
        pytest.param("500old 1new 2new", "<500>1> 1 2", id="on-an-open-connection"),
        pytest.param("9a 1b 2b 1c 2c", "<9>1> 1 2 <2>1> 1 2", id="twice"),
        pytest.param("500 503 | 503 1new 3new", "(500-503) 503 <503>1> 1 ?", id="with-a-hole-of-its-own"),
        pytest.param("100 | 98 ~ 99", "", id="a-heartbeat-tells-nothing"),
        pytest.param("100 | 97 99", "<100>97> 97 ?", id="what-leaves-out-numbers-is-no-replay"),
        pytest.param("500old 40new 41new 43new", "<500>40> 40 41 ?", id="anywhere"),
        pytest.param("5old 8old | 1new 2new .", "(5-8) 8 <8>1> 1 2", id="while-healing"),
        pytest.param("5old | 1~ 1! 2new .", "<5>2> 2", id="the-next-event-tells"),
    ],
)
def test_new_numberings(script, told):
    """A numbering that falls back is one notice and suppresses nothing; a replay is neither (P23, R40, R63)."""
    got, stats = play(script)
    assert got.endswith(told)
    assert stats.gaps == got.count("(") + got.count("<") == told.count("(") + told.count("<")
    assert stats.lost == sum(int(b) - int(a) - 1 for a, b in re.findall(r"\((\d+)-(\d+)\)", got))


def test_modes_of_a_numbered_stream():
    """With "off" replays are delivered again, and are still no reset; nothing is kept apart (3.2, 3.6)."""
    assert play("1 2 | 1..3", dedup="off")[0] == "1 2 1 2 3"
    assert play("100 | 98 ~ 99", dedup="off")[0].count("<") == 1
    got, stats = play("5a 5b 6 | 5a 5b 6")
    assert (got, stats.id_conflicts, stats.duplicates) == ("5 5 6", 1, 3)


@pytest.mark.parametrize(
    "script, told",
    [
        pytest.param("1 3 | =done", "1 (1-3) 3 done", id="without-a-number"),
        pytest.param("1 3 4done 5 | 2", "1 2 3 4", id="held-and-healed"),
        pytest.param("1 3 4done 5 | 4done", "1 (1-3) 3 4", id="held-and-lost"),
        pytest.param("1 3 =done 4 | 2", "1 2 3 done", id="held-without-a-number"),
    ],
)
def test_the_end_of_a_numbered_stream(script, told):
    """The event that `until` matches stands in its place: nothing comes behind it, all that was before it (R8)."""
    until = lambda event: "done" in event.data or event.id == "done"  # noqa: E731
    assert play(script, until=until)[0] == told
