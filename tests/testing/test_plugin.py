"""The pytest plugin as its users meet it: in a project of their own, in a pytest of its own (P24)."""

import re
import tomllib

import pytest

from resilient_sse.testing import pytest_plugin as plugin
from tests.testing.users_project import PLUGIN, Project, section

HEAVY = (
    "anyio",
    "httpx",
    "httpcore",
    "trio",
    "starlette",
    "uvicorn",
    "rich",
    "resilient_sse._client",
)
"""What nobody should pay for who tests something else."""


@pytest.fixture
def project(tmp_path):
    """Give an empty project."""
    return Project(tmp_path)


# --- Light


def test_pytest_finds_it_by_itself(pytestconfig):
    """The package registers it; an installation from before would not tell (P24)."""
    project = tomllib.loads((pytestconfig.rootpath / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"resilient_sse": PLUGIN}


def test_a_run_that_does_not_use_it_does_not_pay(project, monkeypatch):
    """A project that has nothing to do with streams runs without any of it, whatever kind its tests are of."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others import what they like
    code, output = project.run(
        "-p",
        PLUGIN,
        test_other=f"""
            import sys
            import unittest

            import pytest

            HEAVY = {HEAVY!r}

            @pytest.mark.parametrize("number", [1, 2])
            def test_nothing_was_imported(number):
                assert {PLUGIN!r} in sys.modules
                assert [name for name in sys.modules if name.startswith(HEAVY)] == []

            class TestGroup:
                def test_in_a_class(self):
                    test_nothing_was_imported(3)

            class TestOld(unittest.TestCase):
                def test_old(self):
                    test_nothing_was_imported(4)
        """,
    )
    assert code == 0, output
    assert "4 passed" in output


def test_no_fixture_has_a_name_that_others_may_want():
    """Each begins with `sse_`, and `pytest --fixtures` explains it."""
    fixtures = {
        name: thing for name, thing in vars(plugin).items() if hasattr(thing, "_get_wrapped_function")
    }
    assert sorted(fixtures) == ["sse_proxy", "sse_recorder", "sse_script", "sse_server"]
    assert all(thing.__doc__.strip().startswith("Give") for thing in fixtures.values())


# --- Virtual time


FOLLOWER = """
    from resilient_sse import Backoff, ResilientStream

    async def collect(client, **options):
        options.setdefault("backoff", Backoff(jitter=0))
        stream = ResilientStream("https://host/stream", client=client, until="done", **options)
        async with stream:
            return [event.data async for event in stream]
"""


@pytest.mark.slow
def test_marked_tests_run_in_virtual_time(project):
    """The mark alone is enough, on both backends or on those named, in functions, classes and modules."""
    code, output = project.run(
        "-v",
        test_day="""
            import anyio
            import pytest
            from hypothesis import given, settings, strategies

            @pytest.mark.sse_virtual_time("asyncio")
            @given(strategies.integers(0, 10**6))
            @settings(max_examples=20, database=None)
            async def test_property(seconds):
                before = anyio.current_time()
                await anyio.sleep(seconds)
                assert anyio.current_time() == before + seconds

            @pytest.mark.sse_virtual_time
            async def test_both():
                await anyio.sleep(86_400)
                assert anyio.current_time() == 86_400

            @pytest.mark.sse_virtual_time("asyncio")
            async def test_one():
                await anyio.sleep(86_400)
                assert anyio.current_time() == 86_400

            @pytest.mark.parametrize("seconds", [3600, 7200])
            @pytest.mark.sse_virtual_time("trio")
            async def test_a_clock_each(seconds):
                await anyio.sleep(seconds)
                assert anyio.current_time() == seconds

            @pytest.mark.sse_virtual_time
            class TestGroup:
                async def test_in_a_class(self):
                    await anyio.sleep(86_400)

                def test_sync(self):
                    pass

            @pytest.mark.anyio
            @pytest.mark.parametrize("anyio_backend", ["asyncio"])
            async def test_others_keep_real_time(anyio_backend):
                assert anyio.current_time() > 0
        """,
        test_module="""
            import anyio
            import pytest

            pytestmark = [pytest.mark.sse_virtual_time, pytest.mark.anyio]

            @pytest.fixture
            async def noon(anyio_backend_name):
                await anyio.sleep(43_200)
                yield anyio_backend_name
                await anyio.sleep(43_200)

            async def test_fixtures_share_the_clock(noon):
                assert noon in ("asyncio", "trio")
                await anyio.sleep(3600)
                assert anyio.current_time() == 46_800
        """,
    )
    assert code == 0, output
    names = sorted(re.findall(r"::(\S+) PASSED", output))
    assert names == sorted(
        [
            "test_property[asyncio]",
            "test_both[asyncio]",
            "test_both[trio]",
            "test_one[asyncio]",
            "test_a_clock_each[3600-trio]",
            "test_a_clock_each[7200-trio]",
            "TestGroup::test_in_a_class[asyncio]",
            "TestGroup::test_in_a_class[trio]",
            "TestGroup::test_sync",
            "test_others_keep_real_time[asyncio]",
            "test_fixtures_share_the_clock[asyncio]",
            "test_fixtures_share_the_clock[trio]",
        ]
    )


@pytest.mark.proof
@pytest.mark.ci
def test_it_does_without_trio(project):
    """Where trio is not installed, marked tests run on asyncio, and one that names trio says what to install."""
    code, output = project.run(
        *("-v", "-p", "no:hypothesispytest"),  # hypothesis offers to support trio, and would import it
        conftest="""
            import sys

            sys.modules["trio"] = None
        """,
        test_marked="""
            import anyio
            import pytest

            @pytest.mark.sse_virtual_time
            async def test_day(sse_script):
                await anyio.sleep(86_400)

            @pytest.mark.sse_virtual_time("trio")
            async def test_trio():
                pass
        """,
    )
    assert code == 1
    assert "1 passed, 1 error" in output
    assert re.findall(r"::(\S+) PASSED", output) == ["test_day[asyncio]"]
    assert "sse_virtual_time: virtual time on trio needs trio: pip install 'resilient-sse[trio]'" in output


@pytest.mark.slow
def test_mistakes_and_hangs(project):
    """Bad input, and a test that hangs: that test fails with the remedy, and the others pass."""
    code, output = project.run(
        test_marks="""
            import anyio
            import pytest

            from resilient_sse.testing import run_in_virtual_time

            @pytest.mark.sse_virtual_time
            def test_sync():
                pass

            @pytest.mark.sse_virtual_time("curio", "asyncio")
            async def test_unknown():
                pass

            @pytest.mark.sse_virtual_time(backends="trio")
            async def test_keywords():
                pass

            @pytest.fixture(scope="module")
            async def shared():
                return 1

            @pytest.mark.sse_virtual_time("asyncio")
            async def test_shared(shared):
                pass

            @pytest.mark.sse_virtual_time
            async def test_hang():
                await anyio.Event().wait()

            @pytest.mark.sse_virtual_time
            async def test_next():
                await anyio.sleep(3600)

            def test_other(sse_script):
                sse_script.reject(503)
                with pytest.raises(AssertionError, match="no request"):
                    sse_script.assert_exhausted()
                get = sse_script.client().get
                assert run_in_virtual_time(get, "https://host/").status_code == 503
        """,
    )
    assert code == 1
    assert "2 failed, 4 passed, 5 errors" in output  # test_unknown[asyncio], test_next, test_other
    assert sorted(re.findall(r"^(?:ERROR|FAILED) .*?::(\S+)", output, re.MULTILINE)) == [
        "test_hang[asyncio]",
        "test_hang[trio]",
        "test_keywords[asyncio]",
        "test_keywords[trio]",
        "test_shared[asyncio]",
        "test_sync",
        "test_unknown[curio]",
    ]
    assert output.count("AllTasksBlockedError: every task is blocked and no timer is pending") >= 2
    assert "ScopeMismatch" in output  # each test has a clock of its own, so no fixture of many can have it
    for remedy in (
        " marks async tests; a sync test calls resilient_sse.testing.run_in_virtual_time()",
        ": name must be 'asyncio' or 'trio', not 'curio'",
        " takes the names of backends, as in ('trio'), no keywords",
    ):
        assert f"sse_virtual_time{remedy}" in output


@pytest.mark.proof
@pytest.mark.ci
def test_a_plugin_that_takes_marked_tests_over_is_noticed(project):
    """As pytest-asyncio does in auto mode: the test would run in real time, and hang for as long as it says."""
    code, output = project.run(
        conftest="""
            import functools

            import anyio
            import pytest

            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_call(item):
                test = item.obj

                @functools.wraps(test)
                def in_real_time(**arguments):
                    anyio.run(test)

                item.obj = in_real_time
        """,
        test_taken="""
            import pytest

            @pytest.mark.sse_virtual_time("asyncio")
            async def test_taken():
                pass
        """,
    )
    assert code == 1
    assert "another plugin runs this test in real time, although it is marked sse_virtual_time" in output
    assert "asyncio_mode = strict" in output


# --- The script and the recorder


@pytest.mark.slow
def test_a_failure_shows_the_conversation_and_the_timeline(project):
    """A swallowed request and an unplayed step fail a test; its report says what happened, but not twice."""
    code, output = project.run(
        follower=FOLLOWER,
        test_report="""
            import contextlib

            import pytest
            from follower import collect

            from resilient_sse.testing import assert_states, event

            pytestmark = pytest.mark.sse_virtual_time("asyncio")

            async def test_wrong(sse_script, sse_recorder):
                sse_script.respond(event("a", id="1")).hang()
                sse_script.respond(event("b", id="2", event="done"))
                assert await collect(sse_script.client(), observers=[sse_recorder]) == ["a"]

            async def test_wrong_states(sse_script, sse_recorder):
                sse_script.respond(event("b", id="2", event="done"))
                await collect(sse_script.client(), observers=[sse_recorder])
                assert_states(sse_recorder, "closed")

            async def test_idle(sse_script, sse_recorder):
                sse_script.reject(503)
                assert not "anything"

            async def test_right(sse_script):
                sse_script.respond(event("b", id="2", event="done"))
                assert await collect(sse_script.client()) == ["b"]

            async def test_swallowed(sse_script):
                async with sse_script.client() as client:
                    with contextlib.suppress(AssertionError):
                        await client.get("https://host/unexpected")

            async def test_unplayed(sse_script):
                sse_script.reject(503)
        """,
    )
    assert code == 1
    assert "3 failed, 3 passed, 2 errors" in output
    assert re.findall(r"^ERROR .*?::(\w+)", output, re.MULTILINE) == ["test_swallowed", "test_unplayed"]
    assert "unexpected request: GET https://host/unexpected at 0 s" in output
    assert "steps that no request came for:" in output
    failures = output.partition("= FAILURES =")[2]
    wrong, rest = failures.split("test_wrong_states", 1)
    states, idle = rest.split("test_idle", 1)
    assert section(wrong, "SSE conversation") == [
        "GET https://host/stream at 0 s: 200, 1 chunk (15 bytes), then silence",
        "GET https://host/stream at 31 s (Last-Event-ID: 1): 200, 1 chunk (27 bytes), then a clean end",
    ]
    timeline = section(wrong, "SSE timeline")
    assert timeline[0] == "     0.000 s  connecting -> connected (opened): Connected"
    assert timeline[-1] == "    31.000 s  end of the stream (complete)"
    assert len(section(states, "SSE conversation")) == 1
    assert "SSE timeline" not in states
    assert states.count("connecting -> connected") == 1
    assert re.search(r"^> +assert_states\(sse_recorder", states, re.MULTILINE)
    assert section(idle, "SSE conversation") == ["(nothing happened)"]
    assert section(idle, "SSE timeline") == ["(nothing happened)"]


@pytest.mark.proof
@pytest.mark.ci
def test_a_failure_is_reported_once(project):
    """
    A request too many, or a handler that raises, is one failure, and its traceback leaves the libraries out.

    Steps are left over where a test is skipped, fails as expected, or lacks a fixture; that is no second failure.
    A client that retries for ever is stopped, since virtual time has no end, and little of its conversation shown.
    """
    code, output = project.run(
        follower=FOLLOWER,
        test_once="""
            import pytest
            from follower import collect

            from resilient_sse.testing import Refusal

            pytestmark = pytest.mark.sse_virtual_time("asyncio")

            async def test_unexpected(sse_script):
                await collect(sse_script.client())

            async def test_endless(sse_script):
                assert sse_script.max_requests == 10_000
                sse_script.max_requests = 500
                sse_script.always(Refusal())
                await collect(sse_script.client(), max_retries=None)

            async def test_handler(sse_script):
                def answer(request):
                    raise ValueError("of the handler")
                sse_script.always(answer)
                await collect(sse_script.client())

            async def test_another(sse_script):
                try:
                    await collect(sse_script.client())
                except AssertionError:
                    pass
                raise KeyError("another")

            async def test_swallowed_before(sse_script):
                try:
                    await collect(sse_script.client())
                except AssertionError:
                    hidden = True
                assert not hidden

            async def test_skipped(sse_script):
                sse_script.respond()
                pytest.skip("not today")

            async def test_known(sse_script):
                sse_script.respond()
                pytest.xfail("not yet")

            @pytest.fixture
            async def broken(sse_script):
                sse_script.respond()
                raise KeyError("of the fixture")

            async def test_broken(broken):
                pass
        """,
    )
    assert code == 1
    # Two errors are of those that have hidden theirs, one is of the fixture.
    assert "5 failed, 1 skipped, 1 xfailed, 3 errors" in output
    assert sorted(re.findall(r"^ERROR .*?::(\w+)", output, re.MULTILINE)) == [
        "test_another",
        "test_broken",
        "test_swallowed_before",
    ]
    unexpected, endless, handler = (
        re.search(rf"^_+ {name}\[asyncio\] _+\n((?:(?!^_+ test_).*\n)*)", output, re.MULTILINE)[1]
        for name in ("test_unexpected", "test_endless", "test_handler")
    )
    assert (
        "more than 500 requests (max_requests), does something retry for ever? last: GET https://" in endless
    )
    conversation = section(endless, "SSE conversation")
    assert (conversation[10], len(conversation)) == ("... 460 more", 41)
    assert "await collect(sse_script.client())" in unexpected
    places = re.compile(r"^(\S+\.py):\d+: ", re.MULTILINE)
    assert set(places.findall(unexpected)) == {"test_once.py", "follower.py"}
    assert set(places.findall(handler)) == {"test_once.py", "follower.py"}
    assert 'raise ValueError("of the handler")' in handler
