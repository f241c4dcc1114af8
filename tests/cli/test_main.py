"""The entry: help, completion, exit codes, and what is said where something is missing."""

import itertools
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import resilient_sse
from resilient_sse.cli import main
from resilient_sse.cli.commands import group
from resilient_sse.cli.exits import Exit
from tests.cli.parsing import parse
from tests.docs.pages import PAGES, ROOT, fences

COMMANDS = ["demo", "tail", "probe", "relay", "top", "rules", "serve", "fault", "report", "load"]
PAGE = Path(__file__).parents[2] / "docs/use/use-the-command-line.md"


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in an interpreter of its own."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_help(run):
    """Every command is listed, and has help with an example of itself."""
    shown = run("--help")
    assert shown.code == 0
    assert re.findall(r"^  (\w+)  ", shown.out.partition("Commands:")[2], re.MULTILINE) == COMMANDS
    for name in COMMANDS:
        shown = run(name, "-h")
        assert (shown.code, shown.err) == (0, "")
        assert f"Examples:\n    resilient-sse {name}" in shown.out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_the_help_are_accepted(name, monkeypatch, tmp_path):
    """What help shows can be typed."""
    monkeypatch.chdir(tmp_path)
    for file in ("prompt.json", "relay.toml"):
        (tmp_path / file).write_text("{}")
    command = group.get_command(None, name)
    lines = [line.strip() for line in command.epilog.splitlines() if line.strip().startswith("resilient-sse")]
    assert lines
    for line in lines:
        _, said, *arguments = shlex.split(line)
        assert said == name
        command.make_context(name, arguments)


def test_the_commands_of_the_docs_are_accepted(monkeypatch, tmp_path):
    """So can what stands on the pages."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relay.toml").write_text("")
    found = 0
    for page in [*PAGES, ROOT / "README.md"]:
        text = page.read_text(encoding="utf-8")
        for block in [block for language in ("sh", "text", "console") for block in fences(text, language)]:
            lines = re.findall(r"^(?:\$ |ip netns exec \S+ )?resilient-sse (.*)$", block, re.MULTILINE)
            for line in lines:
                words = itertools.takewhile(lambda word: word not in "|>&#", shlex.split(line, comments=True))
                arguments = ["a file" if word.startswith("@") else word for word in words]
                if arguments[0] in COMMANDS:
                    parse(arguments)
                    found += 1
    assert found >= 30


def test_version(run):
    """The version is that of the package."""
    assert run("--version").out == f"resilient-sse {resilient_sse.__version__}\n"


@pytest.mark.parametrize(
    "arguments,words",
    [([], "Missing command"), (["other"], "No such command 'other'"), (["--other"], "No such option")],
)
def test_what_is_no_command(run, arguments, words):
    """One line, and the way to the help that lists the commands."""
    done = run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert done.err.endswith("; see 'resilient-sse --help'\n")
    assert done.err.count("\n") == 1


def test_without_click():
    """A bare install says in one line which extra to add."""
    done = python(
        "import sys; sys.modules['click'] = None; from resilient_sse.cli import main; sys.exit(main())"
    )
    assert (done.returncode, done.stdout) == (Exit.USAGE, "")
    assert done.stderr == (
        "resilient-sse: error: the command line needs click; install it with: pip install 'resilient-sse[cli]'\n"
    )


def test_what_is_not_imported():
    """Help, completion and `tail` are quick: no server, no rich, no trio; help needs no HTTP client either."""
    code = """
import json, os, sys
before = {*sys.modules}  # an environment may have its own reasons to import things at the start
from resilient_sse.cli import main
def new():
    return sorted({name.partition(".")[0] for name in {*sys.modules} - before} & {*sys.argv[1:]})
names = ("tail", "probe", "relay", "top", "rules", "serve", "fault", "load")
codes = [main(["--help"]), *(main([name, "--help"]) for name in names)]
os.environ["_RESILIENT_SSE_COMPLETE"] = "bash_complete"
os.environ |= {"COMP_WORDS": "resilient-sse tail --", "COMP_CWORD": "2"}
codes.append(main([]))
del os.environ["_RESILIENT_SSE_COMPLETE"]
light = new()
codes.append(main(["tail", "http://127.0.0.1:9/", "--max-retries", "0"]))
print()
print(json.dumps([codes, light, new()]))
"""
    heavy = ["starlette", "sse_starlette", "uvicorn", "rich", "trio", "httpx", "anyio", "ssl"]
    done = python(code, *heavy)
    codes, light, tail = json.loads(done.stdout.splitlines()[-1])
    assert codes == [0] * 10 + [1]
    assert light == []
    assert not {*tail} & {*heavy[:4]}  # trio is imported by httpcore, where it is installed


def test_a_missing_extra(run, monkeypatch):
    """What needs an extra says in one line what is missing, and how to get it."""
    monkeypatch.setattr("resilient_sse.testing.extra.find_spec", lambda _name: None)
    for name, extra in (("demo", "demo"), ("load", "testing"), ("report", "testing")):
        done = run(name)
        assert (done.code, done.out) == (2, "")
        assert " needs starlette, sse-starlette, uvicorn" in done.err
        assert done.err.endswith(f"; install it with: pip install 'resilient-sse[{extra}]'\n")


@pytest.mark.parametrize(
    "typed,offered",
    [
        ("resilient-sse t", ["tail", "top"]),
        ("resilient-sse tail --st", ["--stall-timeout"]),
        ("resilient-sse rules p", ["prometheus"]),
        ("resilient-sse fault --profile slow", ["slow-3g"]),
    ],
)
def test_completion(run, monkeypatch, typed, offered):
    """A shell is offered commands, options and values."""
    monkeypatch.setenv("_RESILIENT_SSE_COMPLETE", "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", typed)
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split()) - 1))
    lines = run().out.splitlines()
    assert lines[1::3] == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_line_for_the_shell_is_in_the_docs(shell, capfd, monkeypatch):
    """How completion is switched on is on the page, for each shell."""
    variable = f"_RESILIENT_SSE_COMPLETE={shell}_source"
    assert variable in PAGE.read_text()
    monkeypatch.setenv(*variable.split("="))
    monkeypatch.setattr("click.shell_completion.BashComplete._check_version", lambda *_: None)
    assert main([]) == 0
    assert "resilient-sse" in capfd.readouterr().out


def test_a_fault_of_the_program(run, monkeypatch):
    """No traceback unless it is asked for."""

    def fail(*_, **__):
        raise RuntimeError("oops\n\x1b[2J")

    monkeypatch.setattr("resilient_sse.monitoring.prometheus_rules.prometheus_rules", fail)
    done = run("rules", "prometheus")
    assert done.code == Exit.OTHER
    assert done.err == (
        "resilient-sse: error: RuntimeError: oops \\x1b[2J; this is a fault of the program, --debug shows where\n"
    )
    done = run("rules", "prometheus", "--debug")
    assert done.code == Exit.OTHER
    assert done.err.startswith("Traceback ")
    assert "Traceback " in run("rules", "datadog", "--scale", "2", "--debug").err


def test_exit_codes(run):
    """The codes are a promise; the help of `tail` and the page list them all."""
    codes = [0, 1, 2, 3, 4, 124, 130, 141]
    assert sorted(Exit) == codes
    shown = run("tail", "--help").out.partition("Exit codes:")[2]
    assert [int(code) for code in re.findall(r"^    (\d+) ", shown, re.MULTILINE)] == codes
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)] == codes


@pytest.mark.parametrize("arguments", [["rules", "prometheus"], ["tail", "--help"]])
def test_no_output_at_all(command, arguments):
    """`>&-`: one line says why, and no traceback."""
    shell = ["sh", "-c", 'exec "$@" >&-', "sh"]
    done = subprocess.run(
        [*shell, *command, *arguments], stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert done.returncode == Exit.OTHER
    assert done.stderr == "resilient-sse: error: the output cannot be written: it is closed\n"


def test_no_errors_among_the_output(command):
    """With standard error closed, complaints do not turn up in the output."""
    shell = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh"]
    done = subprocess.run(
        [*shell, *command, "tail"], stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
