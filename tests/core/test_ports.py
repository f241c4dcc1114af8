from __future__ import annotations

import dataclasses
import inspect

import pytest

from resilient_sse._core.ports import Checkpoint, CheckpointStore, Observer


def test_a_checkpoint_is_a_frozen_value():
    """A position is compared by value, for compare-and-set, and cannot be changed."""
    position = Checkpoint("7", 3)
    assert position == Checkpoint(last_event_id="7", version=3)
    assert position != Checkpoint("7", 4)
    with pytest.raises(dataclasses.FrozenInstanceError):
        position.version = 4


@pytest.mark.parametrize(
    "method, parameters", [("load", ["key"]), ("save", ["key", "last_event_id", "expected"])]
)
def test_a_store_is_two_coroutines(method, parameters):
    """Whoever writes a store implements these two methods, with these names (R152)."""
    function = getattr(CheckpointStore, method)
    assert inspect.iscoroutinefunction(function)
    assert list(inspect.signature(function).parameters)[1:] == parameters


def test_an_observer_is_any_callable_of_one_fact():
    """A plain function of one positional argument is an observer."""
    parameters = list(inspect.signature(Observer.__call__).parameters.values())
    assert [parameter.kind for parameter in parameters[1:]] == [inspect.Parameter.POSITIONAL_ONLY]
