"""Every case of the tables under `cases/`: whole, at every cut, byte by byte, and by the reference parser."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from importlib.metadata import version

import httpx
import httpx_sse
import pytest

from tests.conformance import reference_parser
from tests.conformance.case_table import drive, load, single_bytes, two_way_cuts

CASES = load()
GROUPS = {
    group: [case for case in CASES if case.group == group] for group in sorted({case.group for case in CASES})
}
every_case = pytest.mark.parametrize("group", GROUPS)


@every_case
def test_cut_in_two_anywhere(group: str) -> None:
    """P1: whole or cut, with an empty chunk in the cut, the stream gives the items of the table."""
    for case in GROUPS[group]:
        for chunks in two_way_cuts(case.stream):
            assert drive(chunks, case.limit) == case.expected, (case.name, case.rule, chunks)


@every_case
def test_byte_by_byte(group: str) -> None:
    """The stream in single bytes gives the items of the table, with and without empty chunks in between."""
    for case in GROUPS[group]:
        chunks = single_bytes(case.stream)
        assert drive(chunks, case.limit) == case.expected, (case.name, case.rule)
        with_empty_ones = [part for chunk in chunks for part in (b"", chunk, b"")]
        assert drive(with_empty_ones, case.limit) == case.expected, (case.name, case.rule)


@every_case
def test_reference_parser(group: str) -> None:
    """The reading that serves as yardstick elsewhere agrees with the table."""
    for case in GROUPS[group]:
        assert reference_parser.parse(case.stream, case.limit) == case.expected, (case.name, case.rule)


@pytest.mark.parametrize("group", ["fields", "line-ends", "utf-8"])
async def test_a_second_implementation(group: str) -> None:
    """httpx-sse reads these as the tables say; `tests/docs/test_peers.py` counts how many others it does."""
    if group == "line-ends" and version("httpx-sse") == "0.4.1":  # the oldest that we work with
        pytest.skip("httpx-sse 0.4.1 ends lines at other characters, too")
    for case in GROUPS[group]:
        for chunks in ([case.stream], single_bytes(case.stream)):

            async def body(chunks: list[bytes] = chunks) -> AsyncIterator[bytes]:
                for chunk in chunks:
                    yield chunk

            response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=body())
            events = httpx_sse.EventSource(response).aiter_sse()
            assert [(sse.event, sse.data, sse.id) async for sse in events] == case.events, case.name


def test_table_is_large_and_well_named() -> None:
    """The tables hold what they promise: many cases, unique names, an origin and a rule for each."""
    assert len(CASES) >= 350
    assert [name for name, count in Counter(case.name for case in CASES).items() if count > 1] == []
    assert all(case.origin and case.rule for case in CASES)
    groups = "byte-order-mark comments dispatch fields id limit line-ends peers retry utf-8"
    assert {*GROUPS} == {*groups.split()}
    assert len({case.origin for case in CASES if case.origin.startswith("peer study, ")}) == 28


WPT = """
event-data format-bom format-bom-2 format-comments format-data-before-final-empty-line format-field-data
format-field-event format-field-event-empty format-field-id format-field-id-3 format-field-id-null
format-field-parsing format-field-retry format-field-retry-bogus format-field-retry-empty format-field-unknown
format-leading-space format-newlines format-null-character format-utf-8
"""


def test_table_covers_the_web_platform_tests() -> None:
    """Each web platform test about the format has at least one case that names it."""
    named = {case.origin.removeprefix("WPT ") for case in CASES if case.origin.startswith("WPT ")}
    assert named == {*WPT.split()}
