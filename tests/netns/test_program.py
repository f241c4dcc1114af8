"""Programs in namespaces: what they say, and their certain end."""

import json
import os
import time

import pytest

from tests.netns import program
from tests.netns.namespace import Namespace
from tests.netns.stage import need_kernel
from tests.netns.tools import NetnsProgramError

pytestmark = [pytest.mark.e2e, pytest.mark.proof]

TALK = "import json; print(json.dumps({}), flush=True); "


@pytest.fixture(scope="module", autouse=True)
def kernel():
    """Tell a user what is missing; CI must have it."""
    need_kernel()


@pytest.fixture(scope="module")
def space(kernel):
    """Give a namespace."""
    with Namespace("programs") as space:
        yield space


def said(_):
    """Take any record."""
    return True


def test_records_and_words(space):
    """Lines of JSON are records; everything else is kept as words."""
    code = """
import sys
print('{"n": 1}')
print('not JSON')
print('[2]')
print('{"n": 3}', flush=True)
sys.stderr.write('oh\\n')
"""
    with space.run("-c", code) as talker:
        assert talker.wait(seconds=10) == 0
        assert talker.records == [{"n": 1}, {"n": 3}]
        assert sorted(talker.words.splitlines()) == ["[2]", "not JSON", "oh"]
        assert talker.returncode == 0


def test_the_namespace_is_its_network(space):
    """Inside there is but one interface, and nothing of the outside is reached."""
    code = "import json, socket; print(json.dumps({'names': [name for _, name in socket.if_nameindex()]}))"
    with space.run("-c", code) as talker:
        assert talker.wait_for(said, seconds=10) == {"names": ["lo"]}


def test_wait_for_counts_from_the_start(space):
    """Whether a record came before or after the call makes no difference."""
    code = "import time\nfor n in range(5):\n print('{\"n\": %d}' % n, flush=True)\n time.sleep(0.05)"
    with space.run("-c", code) as talker:
        assert talker.wait_for(lambda record: record["n"] % 2 == 0, seconds=10, count=3) == {"n": 4}
        assert talker.wait_for(lambda record: record["n"] % 2 == 0, seconds=0, count=2) == {"n": 2}


def test_too_early_an_end(space, monkeypatch):
    """The error quotes what the program said last, even if that is read after everything else."""
    listen = program.Program._listen

    def listen_late(talker, pipe):
        time.sleep(0.2)
        listen(talker, pipe)

    monkeypatch.setattr(program.Program, "_listen", listen_late)
    with (
        space.run("-c", TALK + "raise SystemExit('broken pipes')") as talker,
        pytest.raises(NetnsProgramError, match=r"(?s)`python -c .* ended too early; .*\{\}\nbroken pipes"),
    ):
        talker.wait_for(said, seconds=10, count=2)


def test_too_long_a_silence(space):
    """So does the one about what never came."""
    with (
        space.run("-c", TALK + "input()") as talker,
        pytest.raises(NetnsProgramError, match=r"did not say in 0\.5 s what was waited for"),
    ):
        talker.wait_for(lambda record: "never" in record, seconds=0.5)


def test_too_long_a_life(space):
    """A program that should have ended is an error too."""
    with (
        space.run("-c", "input()") as talker,
        pytest.raises(NetnsProgramError, match=r"did not end in 0\.2 s:\n\(none\)"),
    ):
        talker.wait(seconds=0.2)


def test_a_bounded_life(space):
    """What nobody ends is ended by its time, even if we are dead by then: it is no thread of ours that does it."""
    with space.run("-c", TALK + "import time; time.sleep(60)", life=0.5) as talker:
        assert talker.wait(seconds=10) == 124  # as timeout(1) does


def test_the_end_of_input_is_the_end(space):
    """A program that listens ends by itself, and is given the time for it."""
    with space.run("-c", TALK + "import sys; sys.stdin.read(); print('{\"last\": 1}')") as talker:
        talker.wait_for(said, seconds=10)
    assert talker.returncode == 0
    assert talker.records[-1] == {"last": 1}
    assert talker.end() == 0


def test_a_stubborn_program(space, monkeypatch):
    """One that does not listen, and not to SIGTERM either, is killed with all it has started."""
    monkeypatch.setattr(program, "_END_SECONDS", 0.5)
    code = """
import json, os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child:
    print(json.dumps({"child": child}), flush=True)
time.sleep(60)
"""
    with space.run("-c", code) as talker:
        child = talker.wait_for(said, seconds=10)["child"]
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert talker.returncode == -9
    until = time.monotonic() + 5
    while child in space.pids() and time.monotonic() < until:
        time.sleep(0.02)
    assert child not in space.pids()


def test_proxies_stay_outside(space, monkeypatch):
    """A proxy of the environment cannot be reached from inside."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "10.0.0.0/8")
    monkeypatch.setenv("OTHER", "kept")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    with space.run("-c", code) as talker:
        seen = talker.wait_for(said, seconds=10)
    assert not [name for name in seen if name.lower().endswith("_proxy")]
    assert seen["OTHER"] == "kept"
    assert json.loads(json.dumps(dict(os.environ)))["HTTPS_PROXY"] == "http://proxy.example:3128"


def test_a_program_that_does_not_start(space, monkeypatch):
    """An error of the operating system becomes one of ours."""
    monkeypatch.setattr(program, "tool", lambda name: f"/nowhere/{name}")
    with pytest.raises(NetnsProgramError, match=r"did not start: .*No such file"):
        space.run("-c", "pass")
