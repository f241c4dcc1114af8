"""The result as JSON: it comes back the same, and anything else is refused by name."""

import json
from dataclasses import replace

import pytest

from resilient_sse.testing.load import Gate, LoadResult
from tests.load.specimens import GOOD

JUDGED = replace(
    GOOD,
    gates=(
        Gate(name="a", found="1", wanted="1", passed=True),
        Gate(name="b", found="2", wanted="1", passed=False),
    ),
)


@pytest.mark.parametrize("result", [GOOD, JUDGED])
def test_round_trip(result):
    """What is written is read back the same, and says whether it passed."""
    text = result.to_json()
    assert LoadResult.from_json(text) == result
    assert json.loads(text)["passed"] is result.passed


def test_passed():
    """One gate that was not passed is enough."""
    assert GOOD.passed
    assert not JUDGED.passed


def wrong(change):
    """Give the JSON of a result after *change* has been made to it."""
    told = json.loads(JUDGED.to_json())
    change(told)
    return json.dumps(told)


def put(value, *path):
    """Make a change that puts *value* at *path*."""

    def change(told):
        for step in path[:-1]:
            told = told[step]
        told[path[-1]] = value

    return change


def drop(*path):
    """Make a change that removes what is at *path*."""

    def change(told):
        for step in path[:-1]:
            told = told[step]
        del told[path[-1]]

    return change


@pytest.mark.parametrize(
    "change,text",
    [
        (put(2, "format"), "format is 2, and this reads 1"),
        (drop("format"), "a JSON object with a format"),
        (put([], "streams"), "^streams is not as a load run writes it"),
        (put(1, "times", "recovery", "p96"), "^times is not .*p96"),
        (drop("delivery", "gaps"), "^delivery is not .*gaps"),
        (put(1, "gates", 0, "colour"), "^gates is not .*colour"),
        (put(1, "else"), "^result is not .*else"),
        (drop("passed"), "^result is not .*passed"),
        (put(True, "passed"), "passed is True, but the gates say False"),
    ],
)
def test_what_is_refused(change, text):
    """A document that is no result is refused, and the place is named."""
    with pytest.raises(ValueError, match=text):
        LoadResult.from_json(wrong(change))


def test_what_is_no_result():
    """Neither is a list, or nonsense."""
    for text in ("[]", "nonsense"):
        with pytest.raises(ValueError, match=r"object|Expecting"):
            LoadResult.from_json(text)
