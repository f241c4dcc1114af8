"""`python -m examples.relay_app [PORT]`."""

import sys

import uvicorn

from examples.relay_app import app

port = int(sys.argv[1]) if sys.argv[1:] else 8000
print(f"open http://127.0.0.1:{port}/ in a browser; Ctrl-C ends", flush=True)
# A browser that takes nothing must not hold up the end of the service.
uvicorn.run(app, port=port, log_level="warning", timeout_graceful_shutdown=5)
