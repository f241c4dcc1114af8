"""A program's own labels: few, declared, and nothing that grows with users, URLs or events."""

import pytest

from resilient_sse.metrics.labels import MAX_VALUES, OTHER, OURS, Labels, checked_names

NETWORK = {"network": ["4g", "wifi"]}
THREE = {"segment": ["free", "paid"], "device": {"phone", "desktop"}, "network": ("4g", "wifi")}


def test_three_labels_are_allowed():
    """Segment, device type and network quality: the granularity of the report (R97)."""
    labels = Labels(THREE)
    assert labels.names == ("segment", "device", "network")
    assert labels.unset == (OTHER,) * 3
    assert labels.chosen({"network": "4g", "segment": "paid", "device": "phone"}) == ("paid", "phone", "4g")


def test_a_fourth_label_is_refused():
    """At most three (R97)."""
    with pytest.raises(ValueError, match="at most 3, not 4"):
        Labels({**THREE, "region": ["eu"]})


@pytest.mark.parametrize("value", ["5g", "", "4G", None, 4, "https://host/x", "other"])
def test_an_unlisted_value_is_other(value):
    """Whatever was not declared falls into one series (R97)."""
    assert Labels(NETWORK).chosen({"network": value}) == (OTHER,)


def test_what_is_not_said_is_other():
    """A stream need not have every label."""
    assert Labels(THREE).chosen({"device": "phone"}) == (OTHER, "phone", OTHER)


def test_an_undeclared_name_is_refused():
    """A typing error must not go unseen; the text names what was declared."""
    with pytest.raises(ValueError, match="'networks' was not declared; declared: network"):
        Labels(NETWORK).chosen({"networks": "4g"})
    with pytest.raises(ValueError, match="declared: none"):
        Labels().chosen({"network": "4g"})


@pytest.mark.parametrize(
    "name",
    [
        *("url", "stream_url", "user", "user_id", "event_id", "last_event_id", "session", "token"),
        *(
            "path",
            "request_id",
            "uid",
            "endpoint",
            "api_endpoint",
            "customer",
            "email",
            "message",
            "client_ip",
            "password",
            "time",
        ),
    ],
)
def test_names_that_tell_users_urls_or_events_apart_are_refused(name):
    """Such labels would fill the monitoring system, and say what nobody asked (R97)."""
    with pytest.raises(ValueError, match="not allowed: its values would differ by user, URL or event"):
        Labels({name: ["x"]})


@pytest.mark.parametrize(
    "name", [*sorted(OURS), "le", "quantile", "job", "instance", "pid", "sse_x", "exported_job"]
)
def test_names_that_have_a_meaning_are_refused(name):
    """Ours, and those of Prometheus."""
    with pytest.raises(ValueError, match="is taken"):
        Labels({name: ["x"]})


@pytest.mark.parametrize("name", ["", "Network", "1st", "net-work", "__name__", "é", "x" * 33, 7])
def test_names_that_no_system_takes_are_refused(name):
    """The common part of what Prometheus, OpenTelemetry and Datadog allow."""
    with pytest.raises(ValueError, match="use lower-case letters"):
        Labels({name: ["x"]})


def test_groups_of_users_are_allowed():
    """A segment is no user (R97)."""
    assert Labels({"user_segment": ["free"], "user_tier": ["gold"]}).names == ("user_segment", "user_tier")


@pytest.mark.parametrize("values", [[], [str(number) for number in range(MAX_VALUES + 1)]])
def test_the_number_of_values_is_bounded(values):
    """None at all is a mistake, very many are a mistake, too (R97)."""
    with pytest.raises(ValueError, match=f"declare 1 to {MAX_VALUES} values"):
        Labels({"network": values})


def test_other_alone_is_no_declaration():
    """It is always there; the text says so, not that there are no values."""
    with pytest.raises(
        ValueError, match=r"'other' stands for what is not declared, .*: declare another value"
    ):
        Labels({"network": ["other"]})


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda long: Labels({"network": [long]}), id="value"),
        pytest.param(lambda long: Labels({long: ["x"]}), id="name"),
        pytest.param(lambda long: Labels({"network": long}), id="values"),
        pytest.param(lambda long: Labels([long]), id="labels"),
        pytest.param(lambda long: Labels(NETWORK).chosen({long: "4g"}), id="chosen"),
    ],
)
def test_errors_quote_little(make):
    """A value of a megabyte, or a secret that stands far behind, does not go into a log."""
    with pytest.raises((TypeError, ValueError)) as caught:
        make("x" * 1_000_000)
    assert "xxx" in str(caught.value)
    assert len(str(caught.value)) < 250


def test_names_alone_are_checked():
    """Those who name labels without values, such as a dashboard's, hear the same."""
    assert checked_names(["network", "device"]) == ["network", "device"]
    with pytest.raises(ValueError, match="'a' is there twice"):
        checked_names(["a", "b", "a"])


@pytest.mark.parametrize("value", ["", " x", "a\nb", "https://host/", "x" * 65, 4, None, "user@host"])
def test_values_are_plain_words(value):
    """No URL, no address, nothing that must be escaped (R97)."""
    with pytest.raises(ValueError, match="is no value"):
        Labels({"network": [value]})


@pytest.mark.parametrize("declared", [["network"], "network", 7])
def test_labels_must_be_a_mapping(declared):
    """The text shows how it is written."""
    with pytest.raises(TypeError, match="labels must map names to"):
        Labels(declared)


@pytest.mark.parametrize("values", ["4g", 7, None])
def test_values_must_be_a_collection(values):
    """A single string is the classic mistake."""
    with pytest.raises(TypeError, match="give the values that it may take"):
        Labels({"network": values})


def test_labels_are_compared_by_what_they_allow():
    """The order of names is part of them; that of values is not."""
    assert Labels(NETWORK) == Labels({"network": ("wifi", "4g", "other")})
    assert hash(Labels(NETWORK)) == hash(Labels({"network": ("wifi", "4g")}))
    assert Labels(NETWORK) != Labels({"network": ["4g"]})
    assert Labels(NETWORK) != NETWORK
    assert Labels({"a": ["x"], "b": ["x"]}) != Labels({"b": ["x"], "a": ["x"]})
    assert repr(Labels(NETWORK)) == "Labels({'network': ['4g', 'wifi']})"
