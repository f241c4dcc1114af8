from __future__ import annotations

import math

import pytest

from resilient_sse._core.checks import (
    check_callable,
    check_choice,
    check_count,
    check_number,
    check_seconds,
    event_types,
)

NO_NUMBERS = [True, False, "1", b"1", [1], 1j]


@pytest.mark.parametrize("value", [0, 1, -1, 0.5, math.inf])
def test_numbers(value):
    """Integers and floats are numbers, and are handed back."""
    assert check_number("x", value) is value


@pytest.mark.parametrize("value", [*NO_NUMBERS, None], ids=repr)
def test_no_numbers(value):
    """Truth values and texts are not taken for numbers."""
    with pytest.raises(TypeError, match=r"^x must be a number, not "):
        check_number("x", value)


@pytest.mark.parametrize("value", [0, 0.0, 5, 0.001, 1e9])
def test_seconds(value):
    """A duration is any finite number of seconds from zero on."""
    check_seconds("x", value)
    check_seconds("x", value, optional=False)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_no_seconds(value):
    """The complaint names the argument, says what to give, and that None is possible."""
    with pytest.raises(TypeError, match=r"^x must be a number of seconds or None, which switches"):
        check_seconds("x", value)


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("positive", [True, False])
def test_seconds_out_of_range(value, positive):
    """Nothing is negative, and None stands for infinity."""
    with pytest.raises(ValueError, match=r"^x must be "):
        check_seconds("x", value, positive=positive)


@pytest.mark.parametrize("value", [10**400, -(10**400)], ids=["positive", "negative"])
def test_numbers_that_no_float_can_hold(value):
    """An integer beyond all floats is complained about like any wrong value, by name."""
    with pytest.raises(ValueError, match=r"^x is too large"):
        check_seconds("x", value)


@pytest.mark.parametrize("value", [0, 0.0])
def test_zero_where_it_makes_no_sense(value):
    """Some durations are more than nothing."""
    check_seconds("x", 0.5, positive=True)
    with pytest.raises(ValueError, match=r"^x must be more than 0 seconds or None"):
        check_seconds("x", value, positive=True)


def test_seconds_that_are_not_optional():
    """None switches a limit off where that is possible, and the complaint says so only there."""
    check_seconds("x", None)
    with pytest.raises(TypeError, match=r"^x must be a number of seconds, not None$"):
        check_seconds("x", None, optional=False)


def test_counts():
    """The least count passes, and one less does not."""
    check_count("x", 1, least=1)
    check_count("x", 10**9, least=1)
    with pytest.raises(ValueError, match=r"^x must be 1 or more or None for no limit, not 0$"):
        check_count("x", 0, least=1)


@pytest.mark.parametrize("value", [True, 1.0, "1", [1]], ids=repr)
def test_no_counts(value):
    """Only integers count."""
    with pytest.raises(TypeError, match=r"^x must be an integer or None for no limit, not "):
        check_count("x", value, least=0)


def test_counts_that_are_not_optional():
    """None means no limit where that is possible."""
    check_count("x", None, least=1)
    with pytest.raises(TypeError, match=r"^x must be an integer, not None$"):
        check_count("x", None, least=1, optional=False)


def test_choices():
    """Only the words of the set pass, and the complaint lists them."""
    check_choice("x", "a", ("a", "b"))
    with pytest.raises(ValueError, match=r"^x must be one of 'a', 'b', not 'c'$"):
        check_choice("x", "c", ("a", "b"))


def test_callables():
    """Anything that can be called passes."""
    check_callable("x", len)
    with pytest.raises(TypeError, match=r"^x must be a function, not 5$"):
        check_callable("x", 5)


def test_callables_that_would_have_to_be_awaited():
    """The answer of a coroutine function is an object that always counts as true."""

    async def later():
        pass

    with pytest.raises(TypeError, match=r"^x must be .* not async"):
        check_callable("x", later)


@pytest.mark.parametrize("types", [["a", "b"], ("a", "b"), {"a", "b"}, {"a": 1, "b": 2}], ids=type)
def test_event_types(types):
    """Any collection of types will do."""
    assert event_types("x", types) == frozenset({"a", "b"})


def test_event_types_are_copied():
    """The caller's collection may change afterwards."""
    types = ["a"]
    copied = event_types("x", types)
    types.append("b")
    assert copied == frozenset({"a"})


@pytest.mark.parametrize("wrong", ["heartbeat", b"heartbeat", None, 5, [1], ["a", None]], ids=repr)
def test_wrong_event_types(wrong):
    """One string is no collection of types, and what holds anything but strings is none either."""
    with pytest.raises(TypeError, match=r"^x must "):
        event_types("x", wrong)
