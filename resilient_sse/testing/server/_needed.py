"""Imported before anything else of this package: says what to install where something is missing."""

from importlib.util import find_spec

__all__ = ["NEEDED"]

NEEDED = ("sse_starlette", "starlette", "uvicorn")
"""What the extra `testing` brings."""

for name in NEEDED:
    if find_spec(name) is None:
        text = f"the reference server needs {name}: pip install 'resilient-sse[testing]'"
        raise ModuleNotFoundError(text, name=name)
