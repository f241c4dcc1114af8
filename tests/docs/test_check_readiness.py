"""The routes that the page about readiness shows answer a probe themselves, in a real Starlette and FastAPI."""

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from resilient_sse.monitoring.readiness import readiness
from tests.client.support import make, numbered
from tests.docs.pages import fences, text_of

(BLOCK,) = [
    block for block in fences(text_of("production/check-readiness.md"), "python") if "FastAPI" in block
]
PATHS = ["/ready", "/ready/"]


def app_of_the_page(framework, ready):
    """Run the block of the page for this endpoint, and return the application of one framework."""
    namespace = {"ready": ready}
    exec(BLOCK, namespace)  # noqa: S102 - it is ours
    return namespace[f"{framework}_app"]


async def ask(app, method, path, root_path=""):
    """Ask an application in memory, as a probe that follows no redirect."""
    transport = httpx.ASGITransport(app, root_path=root_path)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://host", follow_redirects=False
    ) as client:
        return await client.request(method, path)


async def hold(app, status, prefix="", **options):
    """Hold what both paths answer against *status*."""
    for path in PATHS:
        answer = await ask(app, "GET", prefix + path, **options)
        assert (answer.status_code, answer.json()["ready"]) == (status, status == 200)
        answer = await ask(app, "HEAD", prefix + path, **options)
        assert (answer.status_code, answer.content) == (status, b"")
        for method in ("POST", "OPTIONS"):
            answer = await ask(app, method, prefix + path, **options)
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
async def test_both_paths_answer_themselves(script, framework):
    """F34: 503 before the connection and 200 after it, with and without a slash, never a redirect."""
    script.respond(*numbered(1)).hang()
    stream = make(script)
    app = app_of_the_page(framework, readiness(stream))
    mounted = Starlette(routes=[Mount("/api", app)])
    below = FastAPI()
    below.mount("/api", app)

    async def hold_everywhere(status):
        await hold(app, status)
        await hold(app, status, prefix="/api", root_path="/api")  # a proxy that leaves the prefix in the path
        await hold(app, status, root_path="/api")  # and one that takes it away
        await hold(mounted, status, prefix="/api")
        await hold(below, status, prefix="/api")

    await hold_everywhere(503)
    await anext(stream)
    await hold_everywhere(200)
    await stream.aclose()


def test_fastapi_does_not_list_them():
    """F34: the OpenAPI document of an application says nothing of its probes."""
    assert app_of_the_page("fastapi", readiness()).openapi()["paths"] == {}
