"""The figures of the pages, recomputed."""

import json
import re
from collections import Counter
from random import Random

import pytest

from benchmarks.chart import draw
from benchmarks.report import number
from resilient_sse import Backoff, ResilientStream
from resilient_sse._core.backoff import Pacing
from resilient_sse.testing import Script, event, run_in_virtual_time
from tests.docs.pages import code, table, tables, text_of

SHARE = "share of the clients in a slot of 10 ms, on average"
ROWS = table(text_of("explanation/backoff.md"), "jitter", "attempt", "waits between", SHARE, "at most")
CLIENTS = 1000


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[1]}")
def test_the_spread_of_a_fleet(row):
    """A row's band is that of `Backoff`, and a thousand clients keep to its shares (R60)."""
    jitter, attempt, between, average, most = row
    backoff, number = Backoff(jitter=float(jitter)), int(attempt.split()[0])
    low, high = backoff.band(number)
    assert between == f"{low:.1f} s and {high:.1f} s"
    assert average == f"{100 / ((high - low) * 100):.1f} %"
    for seed in range(10):
        random = Random(seed).random
        fleet = [Pacing(backoff, max_server_delay=60.0, random=random) for _ in range(CLIENTS)]
        delays = [client.delay(number) for client in fleet]
        assert low <= min(delays) <= max(delays) <= high
        slots = Counter(int(delay * 100) for delay in delays)
        assert max(slots.values()) / CLIENTS <= float(most.removesuffix(" %")) / 100


def test_the_series_of_the_pages():
    """About 1, 2, 4, 5, 5 seconds."""
    assert [Backoff().nominal(attempt) for attempt in range(1, 6)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert "about 1, 2, 4, 5, 5" in text_of("explanation/backoff.md")


def test_the_window_and_the_marks_of_silence():
    """The pages of guarantees and of liveness name the default limits, and the preset's."""
    text = text_of("explanation/liveness.md")
    defaults = ResilientStream.__init__.__kwdefaults__
    assert f"{defaults['dedup_window']:,} such events" in text_of("explanation/delivery-guarantees.md")
    assert f"At {defaults['stall_timeout']:.0f} seconds the connection is replaced" in text
    assert f"At {defaults['stall_timeout'] * 5 / 6:.0f} seconds of silence" in text
    assert "to 35 seconds" in text


def test_the_headers_against_buffering():
    """The page about proxies names the headers that a request has."""
    script = Script()
    script.respond(event("a", event="done"))

    async def read():
        return [item async for item in ResilientStream("https://host", client=script.client(), until="done")]

    run_in_virtual_time(read)
    rows = dict(table(text_of("production/proxies.md"), "limit", "what the client sends and expects"))
    for name in ("Accept", "Cache-Control", "Accept-Encoding"):
        assert f"`{name}: {script.requests[0].headers[name]}`" in rows["held back"]


def test_the_capacity_of_a_process():
    """Each row of the page is what its own rule gives: memory and CPU for streams and events (P45)."""
    text = text_of("production/capacity.md")
    base, each, cost = (int(found) for found in re.search(RULE, text, re.DOTALL).groups())
    rows = table(text, "streams", "events a second, each", "of a core", "memory")
    assert rows
    for streams, rate, share, memory in rows:
        number = int(streams.replace(",", ""))
        assert share == f"{number * float(rate) * cost / 10_000:.0f} %"
        assert memory == f"{base + number * each / 1024:.0f} MiB"
    planned = [row[2] for row in table(text, "what", "cost", "plan with")]
    assert planned[:4] == [f"{base} MiB", "50 KiB", f"{each - 50} KiB", f"{cost} microseconds"]


RULE = r"Memory is (\d+) MiB and (\d+) KiB for each stream.*CPU is (\d+) microseconds for each event"


def test_the_speed_is_what_was_measured():
    """The chart and the table of the comparison have the figures of the samples beside them (P59)."""
    rows = {row["row"]: row for row in json.loads(text_of("_static/speed.json"))["rows"]}
    drawn = ["decode-typical", "bulk", "chunk", "live", "many", "memory", "opening-1000"]
    assert text_of("_static/speed.svg") == draw([rows[name] for name in drawn])
    (figures,) = [rows for rows in tables(text_of("lab/compare-speed.md")) if "httpx-sse" in rows[0]]
    names = [name.strip("`") for name in figures[0][1:]]
    assert [code(name) for name, *_ in figures[1:]] == list(rows)
    for row, *cells in figures[1:]:
        clients = {each["name"]: number(each["median"]) for each in rows[code(row)]["clients"]}
        left_out = rows[code(row)]["left_out"]
        differs = {name: "differs" for name, why in left_out.items() if why.startswith("differs")}
        assert cells == [{**clients, **differs}.get(name, "") for name in names]
