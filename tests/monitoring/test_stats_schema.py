"""The JSON Schema of a stream's figures (R213): shipped, strict, complete, and true of real runs."""

import json
from dataclasses import fields

import jsonschema
import pytest

from resilient_sse import StreamStats
from resilient_sse.monitoring.schemas import stats_schema
from resilient_sse.testing import Script
from tests.client.support import make, numbered
from tests.metrics.torment import given_up, tormented


@pytest.fixture
def validator():
    """Give a strict validator."""
    jsonschema.Draft202012Validator.check_schema(stats_schema())
    return jsonschema.Draft202012Validator(stats_schema())


def test_every_figure_has_its_entry():
    """R213: a figure that is added is added to the schema, too, with a description, and none is left over."""
    schema = stats_schema()
    names = [field.name for field in fields(StreamStats)]
    assert list(schema["properties"]) == names
    assert schema["required"] == names
    assert schema["additionalProperties"] is False
    assert all(entry["description"] for entry in schema["properties"].values())
    kinds = {"int": "integer", "int | None": ["integer", "null"], "float | None": ["number", "null"]}
    for field in fields(StreamStats):  # null is allowed exactly where nothing may be known
        assert schema["properties"][field.name]["type"] == kinds[field.type], field.name


async def test_real_runs_are_valid(validator, script):
    """R213: a stream that has not begun, one in its midst, one after every fault, and one that gave up."""
    validator.validate(json.loads(make(Script()).stats.to_json()))
    going = Script()
    going.respond(*numbered(1, 2)).hang()
    async with make(going) as stream:
        await anext(stream)
        validator.validate(json.loads(stream.stats.to_json()))
    told = json.loads((await tormented(script)).stats.to_json())
    validator.validate(told)
    assert told["declared_total"] is not None
    assert told["lost"] > 0
    told = json.loads((await given_up()).stats.to_json())
    validator.validate(told)
    assert told["retries_exhausted"] == 1


@pytest.mark.parametrize(
    "wrong",
    [{"received": -1}, {"received": 1.5}, {"lost": None}, {"unheard_of": 1}, {"last_recovery": -0.1}, {}],
    ids=str,
)
def test_the_schema_is_strict(validator, wrong):
    """R213: what no stream could tell is refused, and so is what lacks a figure."""
    told = {**StreamStats().to_dict(), **wrong}
    if not wrong:
        del told["stalls"]
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(told)


def test_the_schema_is_the_callers_own():
    """What a caller does to the schema stays with that caller."""
    stats_schema()["properties"].clear()
    assert stats_schema()["properties"]
