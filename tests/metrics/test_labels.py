"""A program's own labels: few, and declared (R97)."""

import pytest

from resilient_sse.metrics.labels import MAX_VALUES, OTHER, OURS, Labels

NETWORK = {"network": ["4g", "wifi"]}
THREE = {"user_segment": ["free", "paid"], "device": {"phone", "desktop"}, "network": ("4g", "wifi")}
LONG = "x" * 1_000_000


@pytest.mark.parametrize("value", ["5g", "", "4G", None, 4, ["4g"], "https://host/x", "other"])
def test_an_unlisted_value_is_other(value):
    """Whatever was not declared falls into one series."""
    assert Labels.of(NETWORK).chosen({"network": value}) == (OTHER,)


@pytest.mark.parametrize(
    "declared, error, text",
    [
        ({**THREE, "region": ["eu"]}, ValueError, "at most 3, not 4"),
        *(({name: ["x"]}, ValueError, "is taken") for name in sorted(OURS)),
        *(({name: ["x"]}, ValueError, "is taken") for name in ("le", "job", "pid", "sse_x", "exported_job")),
        *(
            ({name: ["x"]}, ValueError, "use lower-case letters")
            for name in ("", "Net", "1st", "a-b", "é", 7)
        ),
        ({LONG: ["x"]}, ValueError, "use lower-case letters"),
        ({"network": []}, ValueError, f"declare 1 to {MAX_VALUES} values besides 'other', not 0"),
        ({"network": ["other"]}, ValueError, f"declare 1 to {MAX_VALUES} values besides 'other', not 0"),
        ({"network": [str(number) for number in range(21)]}, ValueError, "not 21"),
        *(
            ({"network": [value]}, ValueError, "is no value")
            for value in ("", " x", "a\nb", "a/", "x@y", 4, None)
        ),
        ({"network": [LONG]}, ValueError, "is no value"),
        *(({"network": values}, TypeError, "give the values that it may take") for values in ("4g", 7, LONG)),
        *(
            (declared, TypeError, "labels must map names to")
            for declared in (["network"], "network", 7, LONG)
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_declaration_is_refused(declared, error, text):
    """What no monitoring system takes, or what has a meaning there; the text quotes little, names and says how."""
    with pytest.raises(error, match=text) as caught:
        Labels.of(declared)
    assert len(str(caught.value)) < 250


def test_an_undeclared_name_is_refused():
    """A typing error must not go unseen; the text names what was declared."""
    with pytest.raises(ValueError, match="'networks' was not declared; declared: network"):
        Labels.of(NETWORK).chosen({"networks": "4g"})
    with pytest.raises(ValueError, match="declared: none"):
        Labels.of(None).chosen({LONG: "4g"})


def test_labels_are_compared_by_what_they_allow():
    """The order of names is part of them; that of values is not."""
    assert Labels.of(NETWORK) == Labels.of({"network": ("wifi", "4g", "other")})
    assert Labels.of(NETWORK) != Labels.of({"network": ["4g"]})
    assert Labels.of({"a": ["x"], "b": ["x"]}) != Labels.of({"b": ["x"], "a": ["x"]})
