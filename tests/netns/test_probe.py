"""What is said where there can be no networks, and what becomes of the tests that need one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.netns import probe, tools
from tests.netns.probe import available
from tests.netns.stage import need_kernel
from tests.netns.tools import NetnsCommandError, NetnsUnavailableError, call, tool

pytestmark = pytest.mark.proof

ASK = "from tests.netns.probe import available; print(available())"

TEST = """
from tests.netns.stage import need_kernel
import pytest

@pytest.fixture(autouse=True)
def kernel():
    need_kernel()

def test_of_a_user():
    pass
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Give a function that puts a shell script before the real program."""

    def put(name, script):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    return put


@pytest.fixture
def rights(monkeypatch):
    """Have the user be one with all rights, so that the programs decide."""
    monkeypatch.setattr(probe, "_rights", lambda: -1)


def test_a_program_that_is_missing(monkeypatch, rights):
    """The error names the package."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(tools, "_SYSTEM_PATHS", ())
    with pytest.raises(
        NetnsUnavailableError, match="the program `ip` is not installed; apt-get install iproute2 nftables"
    ) as caught:
        probe.require()
    assert caught.value.missing == "the program `ip` is not installed"


def test_another_system(monkeypatch):
    """Elsewhere there is no such thing."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(NetnsUnavailableError, match="only Linux has network namespaces; use a Linux machine"):
        probe.require()


@pytest.mark.parametrize(
    "name,refused,what",
    [
        ("ip", "netns add", "network namespaces"),
        ("ip", "link add", "veth links"),
        ("ip", "nft", "nftables with `numgen` and `reject`"),
        ("tc", "tbf", "the queue `tbf`"),
        ("ip", "ss -K", "ending connections with `ss -K`"),
    ],
)
@pytest.mark.e2e
def test_a_kernel_that_refuses(fake, name, refused, what):
    """Each thing is really tried, and the error quotes what came of it."""
    need_kernel()
    real = tool(name)
    fake(
        name,
        f'case "$*" in *"{refused}"*) echo "Operation not supported" >&2; exit 1;; esac\nexec {real} "$@"',
    )
    with pytest.raises(NetnsUnavailableError, match="Operation not supported") as caught:
        probe.require()
    assert caught.value.missing.startswith(f"no {what} here: `")
    assert caught.value.fix


@pytest.mark.e2e
def test_a_kernel_that_ends_no_connections(fake):
    """`ss` does not complain where the kernel cannot, it only does nothing."""
    need_kernel()
    real = tool("ip")
    fake("ip", f'case "$*" in *"ss -K"*) exit 0;; esac\nexec {real} "$@"')
    with pytest.raises(NetnsUnavailableError, match="CONFIG_INET_DIAG_DESTROY"):
        probe.require()


def without_rights(*command, **environment):
    """Run a program as root without the rights over networks, as containers do by default."""
    bounds = ["--bounding-set", "-net_admin,-sys_admin", "--inh-caps", "-net_admin,-sys_admin"]
    return subprocess.run(
        [tool("setpriv"), *bounds, "--", *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.e2e
class TestContainer:
    """What happens in a container that may not change networks."""

    @pytest.fixture(autouse=True)
    def kernel(self):
        """Take rights away only where there are any."""
        need_kernel()

    def test_the_reason(self):
        """The reason names the rights and the way to get them."""
        asked = without_rights(sys.executable, "-c", ASK)
        assert asked.stdout == (
            "this user lacks CAP_NET_ADMIN and CAP_SYS_ADMIN; "
            "run as root, and a container with `--privileged`\n"
        )

    def run_a_test(self, tmp_path, **environment):
        """Run a test that needs a network."""
        file = tmp_path / "test_user.py"
        file.write_text(TEST, encoding="utf-8")
        return without_rights(
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "tests.conftest",
            str(file),
            **environment,
        )

    def test_a_user_is_told(self, tmp_path):
        """A test is skipped, and says so without being asked with `-rs`."""
        run = self.run_a_test(tmp_path, CI="")
        assert run.returncode == 0, run.stdout
        assert "1 skipped" in run.stdout
        assert "SKIPPED 1, no network namespaces: this user lacks CAP_NET_ADMIN" in run.stdout

    @pytest.mark.slow
    def test_ci_must_have_it(self, tmp_path):
        """In CI nobody reads that, and so the test fails."""
        run = self.run_a_test(tmp_path, CI="true")
        assert run.returncode == 1
        assert "1 error" in run.stdout
        assert "no network namespaces: this user lacks CAP_NET_ADMIN" in run.stdout


def test_the_answer_is_a_reason_or_nothing(monkeypatch):
    """What `require` raises, `available` returns, once for all."""

    def missing():
        raise NetnsUnavailableError("no luck", "try again")

    monkeypatch.setattr(probe, "require", missing)
    available.cache_clear()
    try:
        assert available() == "no luck; try again"
        monkeypatch.undo()
        assert available() == "no luck; try again"
    finally:
        available.cache_clear()


def test_a_command_that_fails():
    """The error quotes the command and what it said."""
    with pytest.raises(NetnsCommandError, match=r"`/.*ls /nowhere/at/all` failed: .*No such file") as caught:
        call("ls", "/nowhere/at/all")
    assert caught.value.command[1:] == ("/nowhere/at/all",)
    with pytest.raises(NetnsCommandError, match="it did not say why"):
        call("false")


def test_a_command_that_hangs(monkeypatch):
    """It is ended."""
    monkeypatch.setattr(tools, "_CALL_SECONDS", 0.1)
    with pytest.raises(NetnsCommandError, match=r"it did not end within 0\.1 s"):
        call("sleep", "5")
