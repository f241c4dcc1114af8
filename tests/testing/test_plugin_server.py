"""The fixtures with a real server and a real proxy, in a project of a user's own (P24)."""

import pytest

from tests.testing.users_project import Project

pytestmark = pytest.mark.e2e

LISTENER = """
    from resilient_sse import ResilientStream

    async def listen(url, wanted):
        words = []
        async with ResilientStream(url) as stream:
            async for event in stream:
                words.append(event.data)
                if len(words) == wanted:
                    return words
"""


@pytest.fixture
def project(tmp_path):
    """Give an empty project."""
    project = Project(tmp_path)
    project.write(listener=LISTENER)
    return project


@pytest.mark.slow
def test_a_real_server_for_tests_of_any_kind(project):
    """
    One fixture serves sync tests and async tests on both backends, and its mark passes arguments.

    In virtual time the clock would jump while the kernel works: that is refused before the test begins.
    """
    code, output = project.run(
        test_server="""
            import anyio
            import pytest
            from listener import listen

            from resilient_sse.testing import virtual_backend

            pytestmark = pytest.mark.sse_server(start="first", first_id=7)

            @pytest.mark.anyio
            async def test_async(sse_server):
                assert sse_server.publish("a") == 7
                sse_server.publish("b")
                assert await listen(sse_server.url, 2) == ["a", "b"]

            def test_sync(sse_server):
                sse_server.publish("a")
                assert anyio.run(listen, sse_server.url, 1) == ["a"]

            @pytest.mark.sse_server(7)
            def test_mistake(sse_server):
                pass

            @pytest.mark.sse_virtual_time
            async def test_marked(sse_server):
                pass

            class TestOverridden:
                @pytest.fixture(params=["asyncio", "trio", None])
                def anyio_backend(self, request):
                    return virtual_backend(request.param) if request.param else ("asyncio", {"debug": True})

                @pytest.mark.anyio
                async def test_overridden(self, sse_server):
                    pass
        """,
    )
    assert code == 1, output
    assert "4 passed, 5 errors" in output
    assert "the mark sse_server takes keyword arguments only" in output
    report, _, _ = output.partition("short test summary")
    assert report.count("sse_server has real sockets and needs real time") == 4


@pytest.mark.proof
@pytest.mark.ci
def test_a_proxy_before_it(project):
    """What is sent comes through the proxy, and after a reset the rest does; its mark passes arguments."""
    code, output = project.run(
        test_proxy="""
            import anyio
            import pytest
            from listener import listen

            from resilient_sse import ResilientStream

            @pytest.mark.anyio
            @pytest.mark.sse_server(start="first", retry=50)
            @pytest.mark.sse_proxy(profile="wifi", seed=3)
            async def test_reset(sse_server, sse_proxy):
                sse_server.publish("a")
                async with ResilientStream(sse_proxy.url) as stream:
                    assert (await anext(stream)).data == "a"
                    assert sse_proxy.reset_all() == 1
                    sse_server.publish("b")
                    assert (await anext(stream)).data == "b"
                assert stream.stats.reconnects == 1
                assert sse_proxy.counters.accepted == 2
                assert (sse_proxy.profile.name, sse_proxy.seed) == ("wifi", 3)
        """
    )
    assert code == 0, output
    assert "2 passed" in output


@pytest.mark.parametrize("missing", ["starlette", "sse_starlette", "uvicorn"])
@pytest.mark.proof
@pytest.mark.ci
def test_a_missing_extra_names_the_remedy(project, missing):
    """Who asks for the server without what it needs reads what to install."""
    code, output = project.run(
        conftest=f"""
            import sys

            sys.modules[{missing!r}] = None
        """,
        test_server="""
            def test_server(sse_server):
                pass

            def test_script(sse_script):
                pass
        """,
    )
    assert code == 1, output
    assert "1 passed, 1 error" in output
    assert f"MissingExtraError: the reference server needs {missing.replace('_', '-')}" in output
    assert "pip install 'resilient-sse[testing]'" in output
