"""The diagram of the states, and the table of reasons, are drawn from those of the code."""

import re
import xml.etree.ElementTree as ET

from resilient_sse import StreamState
from resilient_sse._core.session import TRANSITIONS
from tests.docs.pages import DOCS, fences, module, text_of

state_diagram = module(DOCS / "state_diagram.py")
PAGE = text_of("explanation/states.md")


def drawn(diagram):
    """Return the pairs of states that a diagram connects, with the frame taken apart."""
    inside = re.search(r"state live \{\n(.*?)\n    \}", diagram, re.DOTALL)[1]
    live = set(re.findall(r"[A-Z]+", re.sub(r" : .*", "", inside)))
    pairs = set()
    for old, new in re.findall(r"^\s*(\S+) --> (\S+)", diagram, re.MULTILINE):
        for start in live if old == "live" else {old}:
            if "[*]" not in (start, new):
                pairs.add((StreamState[start], StreamState[new]))
    return pairs


def test_the_page_is_up_to_date():
    """Writing the page anew changes nothing; if this fails, run `python docs/state_diagram.py --write`."""
    assert state_diagram.updated(PAGE) == PAGE


def test_the_diagram_shows_every_transition():
    """What the page draws is the table, no more and no less."""
    (diagram,) = fences(PAGE, "mermaid")
    assert drawn(diagram) == set(TRANSITIONS)


def test_the_drawing_is_self_contained():
    """The picture is one well-formed element that names every state and loads nothing."""
    picture = state_diagram.svg(state_diagram.mermaid())
    root = ET.fromstring(picture)  # noqa: S314 - written by ourselves
    names = {element.text for element in root.iter() if element.get("class") == "name"}
    assert names == {state.name for state in StreamState}
    arrows = [element for element in root.iter() if element.get("marker-end")]
    assert len(arrows) == state_diagram.mermaid().count("-->")
    assert "href" not in picture
    assert "url(http" not in picture
