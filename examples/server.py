"""
A chat server that lets go of its clients: `uvicorn server:app --app-dir examples`, then run the other examples.

`/reply` streams a reply of 50 messages, numbered from 1, and a `done` event behind them.  It resumes after
`Last-Event-ID`, sends a comment every ten seconds, and ends each response after 20 messages, as some proxies
do, so that clients have something to mend.

Needs the extra `demo`.
"""

import json
from collections.abc import AsyncIterator

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route

MESSAGES = 50
ENDS_AFTER = 20
SECONDS_BETWEEN = 0.02


async def messages(after: int) -> AsyncIterator[ServerSentEvent]:
    last = min(after + ENDS_AFTER, MESSAGES)
    for number in range(after + 1, last + 1):
        data = json.dumps({"text": f"message {number} of {MESSAGES}. "})
        yield ServerSentEvent(data, id=str(number), retry=100)
        await anyio.sleep(SECONDS_BETWEEN)
    if last == MESSAGES:
        yield ServerSentEvent("{}", event="done")


async def reply(request: Request) -> EventSourceResponse:
    try:
        after = int(request.headers.get("Last-Event-ID", 0))
    except ValueError:
        raise HTTPException(400, "ids are numbers") from None
    return EventSourceResponse(messages(after), ping=10)


app = Starlette(routes=[Route("/reply", reply)])
