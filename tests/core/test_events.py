from __future__ import annotations

import dataclasses
import typing

import pytest

from resilient_sse._core import events
from resilient_sse._core.events import Closed, Comment, Disconnected, Gap, Opened, ServerSentEvent
from resilient_sse._core.states import Reason

SAMPLES = [
    ServerSentEvent(data="a"),
    Comment("ping"),
    Gap(kind="hole", after_id="1", before_id="4", missing=2),
    Opened(connection=1, status=200, headers={"set-cookie": "hush"}),
    Disconnected(reason=Reason.EOF, attempt=1, delay=1.0),
    Closed(reason=Reason.COMPLETE),
]


def test_data_decodes_as_json():
    """`json()` gives what the data says, whatever kind of value that is."""
    assert ServerSentEvent(data='{"n": [1, null]}').json() == {"n": [1, None]}
    assert ServerSentEvent(data="7").json() == 7


@pytest.mark.parametrize("fact", SAMPLES, ids=lambda fact: type(fact).__name__)
def test_facts_are_immutable_values(fact):
    """Each fact equals its copy, cannot be changed, and takes no attribute it does not know."""
    assert dataclasses.replace(fact) == fact
    name = dataclasses.fields(fact)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(fact, name, None)
    with pytest.raises((AttributeError, TypeError)):
        fact.unheard_of = 1
    assert not hasattr(fact, "__dict__")


def test_the_union_names_every_kind():
    """`Activity` is the whole of what `activity()` can yield: those who match on it miss nothing."""
    assert set(typing.get_args(events.Activity)) == {type(sample) for sample in SAMPLES}
