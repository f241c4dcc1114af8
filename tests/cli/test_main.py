"""The entry, and what works without the extras."""

import sys

import pytest

import resilient_sse
from resilient_sse.cli import main

EXTRAS = ["rich", "sse_starlette", "starlette", "uvicorn"]


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch):
    """Have none of the extras installed."""
    for name in [*sys.modules]:
        if name.partition(".")[0] in EXTRAS:
            monkeypatch.delitem(sys.modules, name)
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.usefixtures("without_extras")
@pytest.mark.parametrize("arguments", [["--help"], ["tail", "--help"], ["demo", "--help"]], ids=" ".join)
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    """Help is there without any extra."""
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: resilient-sse")


@pytest.mark.usefixtures("without_extras")
def test_version(capsys: pytest.CaptureFixture[str]):
    """So is the version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"resilient-sse {resilient_sse.__version__}\n"


@pytest.mark.usefixtures("without_extras")
def test_demo_without_extras(capsys: pytest.CaptureFixture[str]):
    """The demo says in one sentence what is missing, and how to get it."""
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == (
        "resilient-sse: error: the demo needs starlette, sse-starlette, uvicorn; "
        "install it with: pip install 'resilient-sse[demo]'\n"
    )


def test_hidden_option(capsys: pytest.CaptureFixture[str]):
    """What is for tests only is not in the help."""
    main(["demo", "--help"])
    assert "sabotage" not in capsys.readouterr().out


def test_wrong_option_of_the_library(capsys: pytest.CaptureFixture[str]):
    """What the library finds wrong in an argument is a usage error as well."""
    assert main(["tail", "ftp://host/x"]) == 2
    assert main(["tail", "http://host/x", "--last-event-id", " x"]) == 2
    assert main(["tail", "http://host/x", "-X", "G T"]) == 2
    assert capsys.readouterr().err.count("resilient-sse: error: ") == 3
