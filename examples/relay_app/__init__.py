"""
A reply handed on to browsers, over a network that you can break: `python -m examples.relay_app`.

Open http://127.0.0.1:8000/, ask, and break the network while the reply streams in; open a second tab.

    a model  ->  the fault proxy  ->  this service  ->  browsers
    (the reference server)            (ResilientStream, Broadcast)

One command runs all four; `uvicorn examples.relay_app:app --timeout-graceful-shutdown 5` does, too.
What is needed in a service of your own is `lifespan`, `events` and the page; the rest is for the show.

Needs the extra `demo`.
"""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.abc import TaskGroup
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from resilient_sse import ResilientSSEError, ResilientStream, ServerSentEvent
from resilient_sse.relay import Broadcast
from resilient_sse.testing.proxy import FaultProxy, parse_action
from resilient_sse.testing.server import ReferenceServer, RunningServer, serving

SECONDS_A_WORD = 0.25
REPLY = """
A stream of events is one long answer to one request. On a good day it simply flows. On a bad day a proxy
cuts it, a router forgets it without a word, or the server is restarted in the middle of a sentence. The reader
should notice none of that: every event has an id, so whoever comes back says which one was the last, and gets
what follows. Nothing is lost, nothing comes twice, and while it lasts the page says what is going on.
Break the network now, and watch.
"""
FAULTS = {
    "stall": ["black-hole"],
    "reset": ["reset"],
    "slow": ["bandwidth:kbps=1.5"],
    "loss": ["loss:share=0.3,delay=0.8"],
    "down": ["refuse", "reset"],
    "heal": ["clear", "accept"],
}
"""What each button does to the network between the model and the service, in the words of the fault proxy."""


class Chat:
    """One conversation, read from the model over the proxy, and handed on to every browser."""

    def __init__(self, model: RunningServer, proxy: FaultProxy, tasks: TaskGroup) -> None:
        self.broadcast = Broadcast(start="first", heartbeat=2.0, retry=1000)
        self.stopping = anyio.Event()
        self.broken: list[str] = []
        self._model, self._proxy, self._tasks = model, proxy, tasks
        self._position: str | None = None
        self._replying = False
        self._again: anyio.Event | None = None

    def ask(self) -> bool:
        """Begin a reply, or go on with one that was given up; false while one streams in."""
        if self._again is not None:
            self._again.set()
        elif self._replying:
            return False
        else:
            self._replying = True
            self._tasks.start_soon(self._write)
            self._tasks.start_soon(self._hand_on)
        return True

    def apply(self, fault: str) -> None:
        """Break the network, or heal it, and tell every browser so."""
        for action in FAULTS[fault]:
            self._proxy.apply(parse_action(action))
        if fault == "heal":
            self.broken = []
        elif fault != "reset" and fault not in self.broken:
            self.broken.append(fault)
        self.broadcast.publish(ServerSentEvent(event="network", data=json.dumps(self.broken)))

    async def stop(self) -> None:
        """End the responses when the service is told to end; browsers come back, to the next one."""
        await self.stopping.wait()
        self.broadcast.close()

    async def _hand_on(self) -> None:
        """Read one reply to its end, asked again as often as it takes."""
        url = self._proxy.url_for(self._model.url)
        async with ResilientStream(
            url, last_event_id=self._position, until="done", stall_timeout=8.0, waiting_after=4.0
        ) as stream:
            while True:
                try:
                    await self.broadcast.run(stream)
                    break
                except ResilientSSEError:  # the browsers have been told
                    self._again = anyio.Event()
                    await self._again.wait()
                    self._again = None
            self._position = stream.last_event_id
        self._replying = False

    async def _write(self) -> None:
        """Be the model: say the reply word by word, whoever listens."""
        words = re.findall(r"\S+\s*", REPLY.strip().replace("\n", " "))
        for part, word in enumerate(words, 1):
            self._model.publish(json.dumps({"text": word, "part": part, "of": len(words)}))
            await anyio.sleep(SECONDS_A_WORD)
        self._model.complete()


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncGenerator[dict[str, Chat]]:
    model = ReferenceServer(start="first", heartbeat=2.0)
    with serving(model) as server:
        async with FaultProxy(server.host, server.port) as proxy, anyio.create_task_group() as tasks:
            chat = Chat(server, proxy, tasks)
            tasks.start_soon(chat.stop)
            yield {"chat": chat}
            tasks.cancel_scope.cancel()


async def page(_request: Request) -> Response:
    return FileResponse(Path(__file__).with_name("page.html"), headers={"Cache-Control": "no-cache"})


async def events(request: Request) -> Response:
    """Stream to one browser: the header is the browser's own, the parameter that of a page that comes back."""
    after = request.headers.get("Last-Event-ID") or request.query_params.get("last_event_id")
    chat: Chat = request.state.chat
    # It sets the event when uvicorn is told to stop, which Starlette's StreamingResponse does not notice.
    return EventSourceResponse(
        chat.broadcast.subscribe(after), shutdown_event=chat.stopping, shutdown_grace_period=2.0
    )


async def ask(request: Request) -> Response:
    return Response(status_code=202 if request.state.chat.ask() else 409)


async def fault(request: Request) -> Response:
    chat, name = request.state.chat, request.path_params["name"]
    if name not in FAULTS:
        return JSONResponse({"faults": list(FAULTS)}, 404)
    chat.apply(name)
    return JSONResponse(chat.broken)


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/", page),
        Route("/events", events),
        Route("/ask", ask, methods=["POST"]),
        Route("/fault/{name}", fault, methods=["POST"]),
    ],
)
