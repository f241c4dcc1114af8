"""The table of answers is what the classifier does."""

import re

import pytest

from resilient_sse import BadStatusError, Verdict
from resilient_sse._core.classify import default_verdict
from tests.docs.pages import table, text_of

ROWS = dict(table(text_of("reference/requests-and-answers.md"), "answer", "what follows"))
BY_STATUS = {
    int(status): follows
    for answer, follows in ROWS.items()
    if re.fullmatch(r"\d{3}(, \d{3})*", answer)
    for status in answer.split(", ")
}
REDIRECTS = {301, 302, 303, 307, 308}


def verdict(status, *, proven=False, fresh=False):
    """Return what the code does about a status."""
    error = BadStatusError(status=status, headers={})
    return default_verdict(error, proven=proven, fresh_credentials=fresh)


@pytest.mark.parametrize("hundred", [2, 3, 4, 5])
def test_each_status(hundred):
    """What the page says about a status is what happens."""
    for status in range(max(100 * hundred, 201), 100 * hundred + 100):
        if status in REDIRECTS:
            continue
        match BY_STATUS.get(status, ROWS["any other status"]):
            case "the stream is complete":
                expected = [Verdict.STOP] * 4
            case "retried":
                expected = [Verdict.RETRY] * 4
            case "`BadStatusError`":
                expected = [Verdict.RAISE] * 4
            case follows if follows.startswith("one more attempt if"):
                expected = [Verdict.RAISE, Verdict.RETRY, Verdict.RAISE, Verdict.RETRY]
            case follows if follows.startswith("retried once the stream has worked"):
                expected = [Verdict.RAISE, Verdict.RAISE, Verdict.RETRY, Verdict.RETRY]
            case follows:
                pytest.fail(f"unknown words: {follows}")
        assert [
            verdict(status, proven=p, fresh=f) for p in (False, True) for f in (False, True)
        ] == expected, status


def test_redirects_are_listed():
    """The page names the redirects that are followed."""
    assert {status for status, follows in BY_STATUS.items() if "redirect" in follows} == REDIRECTS
