"""
Follow a stream in a web service, and tell an orchestrator whether that works.

    STREAM_URL=http://127.0.0.1:8000/orders uvicorn web_service:app --app-dir examples --port 8001

`/` answers with the latest order, `/ready` with 200 while the stream is well and 503 otherwise.  Needs the extra
`testing`, or starlette and uvicorn.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from resilient_sse import ResilientStream
from resilient_sse.monitoring.readiness import readiness

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log the URL with its query
log = logging.getLogger("web_service")

stream = ResilientStream(os.environ["STREAM_URL"], max_retries=None)
ready = readiness({"orders": stream})
latest: dict[str, str] = {}


async def consume() -> None:
    try:
        async with stream:
            async for event in stream:
                latest.update(event.json())
    except Exception:
        log.exception("the stream cannot go on")  # it is closed now, which makes `/ready` say 503


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
    consuming = asyncio.create_task(consume())
    yield
    await stream.aclose()  # the loop ends once the event at hand is done
    await consuming


async def show_latest(_request: Request) -> JSONResponse:
    return JSONResponse(latest)


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", show_latest),
        Route("/ready", ready),
        Route("/ready/", ready),  # some probes ask with a slash
    ],
)
