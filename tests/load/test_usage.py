"""CPU, memory and open files of this process."""

import os
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from resilient_sse.testing.load import OpenFilesError, usage
from resilient_sse.testing.load.usage import Usage, allow_open_files, open_files_allowed, resident_bytes

needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")


@needs_proc
def test_resident_memory():
    """R172: 64 MiB that are touched are seen, and seen to go."""
    before = resident_bytes()
    block = bytearray(b"x") * (64 * 1024 * 1024)
    during = resident_bytes()
    del block
    after = resident_bytes()
    assert during - before > 60e6
    assert during - after > 50e6


def test_without_proc(monkeypatch, tmp_path):
    """Where there is no /proc, memory is unknown instead of wrong."""
    monkeypatch.setattr(usage, "_STATM", tmp_path / "none")
    assert resident_bytes() is None
    (tmp_path / "none").write_text("nonsense")
    assert resident_bytes() is None


def test_cpu_share():
    """R171: half a second of work in a second and a half is a third of a core, however busy the machine is."""
    before = Usage.read()
    while time.process_time() - before.cpu < 0.2:
        sum(range(1000))
    time.sleep(0.3)
    after = Usage.read()
    found = after.cpu_share_since(before)
    assert found == pytest.approx((after.cpu - before.cpu) / (after.at - before.at))
    assert 0 < found < 0.45
    assert before.cpu_share_since(before) is None


def limited(soft, hard, connections):
    """Ask for connections in a process with these limits."""
    code = f"""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
        from resilient_sse.testing.load.usage import allow_open_files
        print(allow_open_files({connections}), *resource.getrlimit(resource.RLIMIT_NOFILE))
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def test_soft_limit_is_raised():
    """A soft limit that is too low is raised to the hard one; one that is enough stays."""
    assert limited(128, 1000, 500).stdout == "564 1000 1000\n"
    assert limited(700, 1000, 500).stdout == "564 700 1000\n"


def test_hard_limit():
    """Where the hard limit is too low, the error says what to do before a single stream is opened."""
    done = limited(128, 200, 500)
    assert done.returncode == 1
    assert "OpenFilesError: so many streams need 564 open files, and the limit is 200" in done.stderr
    assert "raise it with 'ulimit -n 564', or take fewer --users" in done.stderr


def test_limits_of_this_process():
    """The present limit is told, and asking for little changes nothing."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert open_files_allowed() in (before[0], None)
    assert allow_open_files(1) > 1
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
    error = OpenFilesError(564, 200)
    assert isinstance(error, OSError)
    assert (error.needed, error.allowed) == (564, 200)
