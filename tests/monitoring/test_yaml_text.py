"""YAML as a real reader of YAML takes it."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from resilient_sse.monitoring.prometheus_rules import yaml_text

SENTENCES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
TEXTS = SENTENCES | st.lists(st.from_regex(r"[a-z(>][ -~]{0,9}", fullmatch=True), min_size=2).map("\n".join)
SCALARS = TEXTS | st.integers(-(2**40), 2**40) | st.booleans()
NESTED = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(SCALARS | st.dictionaries(TEXTS, inner, min_size=1, max_size=3), max_size=3)
        | st.dictionaries(SENTENCES, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(SENTENCES, NESTED, min_size=1, max_size=4))
@pytest.mark.slow
def test_what_is_written_is_read(data):
    """Whatever it is, the same comes back."""
    assert yaml.safe_load(yaml_text(data)) == data


@pytest.mark.parametrize(
    "text", ["yes", "No", "null", "5", "1e3", "0x1f", "1:30", "-", "a: b", "#", "", " x", "*"]
)
def test_text_stays_text(text):
    """What YAML would take for something else is quoted."""
    assert yaml.safe_load(yaml_text({"key": text})) == {"key": text}


def test_it_is_fit_to_be_read():
    """Blocks for what has several lines, no quotes where none are needed."""
    data = {"groups": [{"name": "sse", "rules": [{"expr": "a\n/\nb", "for": "5m"}, {"empty": []}]}]}
    assert yaml_text(data) == (
        "groups:\n  - name: sse\n    rules:\n      - expr: |-\n          a\n          /\n          b\n"
        "        for: 5m\n      - empty: []\n"
    )
