"""The entry: help, completion, exit codes, and what is said where something is missing."""

import itertools
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import resilient_sse
from resilient_sse.cli import main
from resilient_sse.cli.commands import group
from resilient_sse.cli.exits import Exit
from tests.cli.conftest import parse
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


def test_what_is_shown_can_be_typed(monkeypatch, tmp_path):
    """The examples of the help, and what stands on the pages."""
    monkeypatch.chdir(tmp_path)
    for file in ("prompt.json", "relay.toml"):
        (tmp_path / file).write_text("{}")
    texts = [textwrap.dedent(group.get_command(None, name).epilog.replace("\b", "")) for name in COMMANDS]
    for page in [*PAGES, ROOT / "README.md"]:
        text = page.read_text(encoding="utf-8")
        texts += [block for language in ("sh", "text", "console") for block in fences(text, language)]
    found = set()
    for text in texts:
        for line in re.findall(r"^ *(?:\$ |ip netns exec \S+ )?resilient-sse (.*)$", text, re.MULTILINE):
            words = itertools.takewhile(lambda word: word not in "|>&#", shlex.split(line, comments=True))
            arguments = ["a file" if word.startswith("@") else word for word in words]
            if arguments[0] in COMMANDS:
                parse(arguments)
                found.add(line)
    assert len(found) >= 30
    assert {line.split()[0] for line in found} == {*COMMANDS}


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


@pytest.mark.parametrize(
    "missing, typed, words",
    [
        ("click", "", "the command line needs click; install it with: pip install 'resilient-sse[cli]'\n"),
        (
            "uvicorn",
            "serve --port 0",
            "the reference server needs uvicorn; install it with: pip install 'resilient-sse[testing]'",
        ),
        (
            "redis",
            "serve --port 0 --store redis://127.0.0.1/0",
            "RedisStore needs redis: pip install 'resilient-sse[redis]'",
        ),
    ],
)
def test_what_is_not_installed(missing, typed, words):
    """Bad input: one line says what is missing, and which extra to add."""
    done = python(
        f"import sys; sys.modules[{missing!r}] = sys.modules['{missing}.asyncio'] = None\n"
        "from resilient_sse.cli import main; sys.exit(main(sys.argv[1:]))",
        *typed.split(),
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (Exit.USAGE, "", 1)
    assert done.stderr.startswith("resilient-sse: error: ")
    assert words in done.stderr


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
    codes = [0, 1, 2, 3, 4, 124, 130, 141, 143]
    assert sorted(Exit) == codes
    shown = run("tail", "--help").out.partition("Exit codes:")[2]
    assert [int(code) for code in re.findall(r"^    (\d+) ", shown, re.MULTILINE)] == codes
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(), re.MULTILINE)] == codes


@pytest.mark.parametrize(
    "typed, closed, code, told",
    [
        (
            "rules prometheus",
            1,
            Exit.OTHER,
            "resilient-sse: error: the output cannot be written: it is closed\n",
        ),
        ("tail --help", 1, Exit.OTHER, "resilient-sse: error: the output cannot be written: it is closed\n"),
        ("tail", 2, Exit.USAGE, ""),  # complaints do not turn up in the output
    ],
)
def test_no_output_at_all(command, typed, closed, code, told):
    """`>&-` and `2>&-`: one line says why, and no traceback."""
    shell = ["/bin/sh", "-c", f'exec "$@" {closed}>&-', "sh"]
    done = subprocess.run(
        [*shell, *command, *typed.split()], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", told)


@pytest.mark.e2e
@pytest.mark.parametrize(
    "typed, number, told",
    [
        ("tail {site}/quiet --json", signal.SIGINT, b"* Connected\n"),
        ("tail {site}/endless --json", signal.SIGINT, b"* Connected\n"),
        ("tail {site}/endless --json", signal.SIGTERM, b"* Connected\n"),
        ("demo --plain", signal.SIGINT, b""),
    ],
)
def test_signals(start, site, typed, number, told):
    """Exit code 130 or 143 and no traceback, also while a reader that does not read blocks the output."""
    process = start(*typed.format(site=site).split())
    assert process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert process.communicate()[1] == told


@pytest.mark.e2e
@pytest.mark.parametrize("typed", ["tail -q {site}/endless", "tail -q {site}/quiet", "demo --plain"])
def test_broken_pipe(command, site, typed):
    """`| head -1` ends it at once and quietly, also where no further event would find out."""
    bash = shutil.which("bash") or pytest.skip("needs bash")
    script = '"$@" | head -1 | wc -l; echo "${PIPESTATUS[@]}" >&2'
    done = subprocess.run(
        [bash, "-c", script, "bash", *command, *typed.format(site=site).split()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("1", "141 0 0\n")
