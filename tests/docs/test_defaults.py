"""The tables of arguments, in the reference and in the README, say what the signature says."""

import importlib
import inspect
import pkgutil

from resilient_sse import CONSERVATIVE, ResilientStream, _client, _core
from resilient_sse._core.backoff import MIN_SERVER_DELAY
from resilient_sse._core.options import StreamOptions
from tests.docs.pages import ROOT, code, table, tables, text_of

README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADER = ["argument", "default", "meaning"]
SIGNATURE = {
    name: parameter.default
    for name, parameter in inspect.signature(ResilientStream).parameters.items()
    if name != "url"
}


def constant(name):
    """Return the one value that a module of the client or its core has under this name, wherever that is."""
    modules = [
        importlib.import_module(found.name)
        for package in (_core, _client)
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
    (value,) = {vars(module)[name] for module in modules if name in vars(module)}
    return value


def listed(text):
    """Return the names and defaults of all tables of arguments of a page, in order."""
    return [(code(row[0]), row[1]) for rows in tables(text) if rows[0] == HEADER for row in rows[1:]]


def test_the_reference_lists_every_argument_with_its_default():
    """The page has each argument once, in the order of the signature, with the default as Python writes it."""
    assert [(name, code(default)) for name, default in listed(text_of("reference/arguments.md"))] == [
        (name, repr(default)) for name, default in SIGNATURE.items()
    ]


def test_the_readme_agrees():
    """A default in the README is that of the signature."""
    rows = listed(README)
    assert len(rows) > 10
    for name, default in rows:
        if default.endswith("MiB"):
            assert int(default.removesuffix("MiB")) * 1024 * 1024 == SIGNATURE[name]
        else:
            assert code(default).replace('"', "'") == repr(SIGNATURE[name])


def test_derived_figures():
    """The figures that follow from a default are those the pages name."""
    text = text_of("reference/arguments.md")
    assert StreamOptions().notice == 25.0
    assert "25 s by default" in text
    assert SIGNATURE["max_retries"] + 1 == 6
    assert "six requests in all" in text
    assert f"at least {MIN_SERVER_DELAY} s" in text
    assert SIGNATURE["max_event_bytes"] == 16 * 1024 * 1024
    assert "16 MiB" in text


def test_the_preset():
    """The preset holds what the reference says it holds."""
    said = ", ".join(f"`{name}={value}`" for name, value in CONSERVATIVE.items())
    assert said.replace(", ", " and ") in text_of("reference/arguments.md")
    assert said.replace(", ", " and ") in text_of("reference/stream.md")


def test_constants():
    """The figures that cannot be set are those of the code."""
    rows = dict(table(text_of("reference/arguments.md"), "what", "value"))
    assert list(rows.values()) == [
        f"{constant('_MAX_REDIRECTS')}",
        f"about {constant('HEAD_BYTES') // 1024} KiB",
        f"{constant('_MAX_CURSOR_BYTES') // 1024} KiB of UTF-8",
        f"{constant('_EXCERPT_BYTES') // 1024} KiB, read for at most {constant('_EXCERPT_SECONDS'):g} s",
        f"{constant('CLOSE_SECONDS'):g} s",
        f"{constant('_EMPTY_CONNECTIONS')}",
    ]
