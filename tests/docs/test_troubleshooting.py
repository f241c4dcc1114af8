"""The page for trouble has an entry for every text that people can see, and for every public error (R190)."""

import inspect
import itertools
import re

import pytest

import resilient_sse
from resilient_sse import DEFAULT_MESSAGES, Reason, StateChange, StreamState, compact_messages
from tests.docs.pages import table, text_of

PAGE = text_of("reference/troubleshooting.md")
ERRORS = text_of("reference/errors.md")
SECTIONS = dict(re.findall(r"^## By text: ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
PUBLIC = {
    name
    for name in resilient_sse.__all__
    if inspect.isclass(value := getattr(resilient_sse, name)) and issubclass(value, Exception)
}


def part(section, name):
    """Return what a section says under one of its terms."""
    match = re.search(rf"^{name}\n: (.+(?:\n  .+)*)", section, re.MULTILINE)
    assert match, f"the section has no {name}"
    return match[1]


TEXTS = [text for section in SECTIONS.values() for text in re.findall(r"`([^`]+)`", part(section, "Texts"))]


def pattern(template):
    """Return what a template can become."""
    return re.compile(".+".join(re.escape(piece) for piece in re.split(r"\{\w+\}", template)))


def said():
    """Return every text that `compact_messages` can say, with the state it says it of."""
    for old, new, reason, attempt, limit in itertools.product(
        StreamState, StreamState, Reason, range(7), (None, 5)
    ):
        yield compact_messages(
            StateChange(
                old=old, new=new, reason=reason, attempt=attempt, max_retries=limit, error=ValueError("x")
            )
        )


def test_every_default_text_has_an_entry():
    """R190: each text of the catalogue is listed, to the letter, and once."""
    assert [text for text in DEFAULT_MESSAGES.values() if TEXTS.count(text) != 1] == []


def test_the_compact_texts_have_entries():
    """R190: whatever the shorter texts say is found on the page, and nothing that nobody ever says."""
    spoken, known = {*said()}, {text: pattern(text) for text in TEXTS}
    assert {text for text in spoken if not any(each.fullmatch(text) for each in known.values())} == set()
    others = {known[text] for text in known.keys() - {*DEFAULT_MESSAGES.values()}}
    assert [each for each in others if not any(each.fullmatch(text) for text in spoken)] == []


@pytest.mark.parametrize("name", SECTIONS)
def test_every_entry_is_complete(name):
    """R190: meaning, check, action, and where to read on."""
    section = SECTIONS[name]
    for term in ("Meaning", "Check", "Action"):
        assert len(part(section, term)) > 20
    assert re.search(r"\]\([\w./-]+\.md(#[\w-]+)?\)", part(section, "See"))


def test_every_public_error_has_an_entry():
    """R190: each error has its row, with all of its cells, and leads to its own entry."""
    rows = table(PAGE, "error", "meaning", "check", "action")
    found = {}
    for error, *cells in rows:
        name, target = re.fullmatch(r"\[(\w+)\]\(errors\.md#(\w+)\)", error).groups()
        assert target == name.lower()
        assert f"\n## {name}\n" in ERRORS
        assert all(len(cell) > 5 for cell in cells)
        found[name] = cells
    assert len(found) == len(rows)
    assert set(found) == PUBLIC


def test_the_figures_are_those_of_the_client():
    """R190: each figure and each fact of health that the page names is there."""
    health = resilient_sse.StreamHealth(state=StreamState.CONNECTED)
    for holder, shown in ((resilient_sse.StreamStats(), r"stats"), (health, r"health\(\)")):
        names = set(re.findall(rf"`{shown}\.(\w+)`", PAGE))
        assert names
        assert [name for name in names if not hasattr(holder, name)] == []
