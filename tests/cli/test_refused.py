"""What makes no sense, or cannot be done: each is told in one line, with the exit code for it."""

import io
import shlex
import sys

import pytest

from resilient_sse.testing import load

REFUSED = {
    "tail": "Missing argument 'URL'",
    "tail x --count": "requires an argument",
    "tail x --jso": "--jso",
    "tail x --json --raw": "--raw does not go with --json",
    "tail x -t --raw": "--raw does not go with --timestamps",
    "tail x -q -v": "--verbose does not go with --quiet",
    f"tail x -k --cacert {__file__}": "--cacert does not go with --insecure",
    "tail x --max-retries 1 --no-reconnect": "--no-reconnect does not go with --max-retries",
    "tail x --count '²'": "'²' is not a valid number",
    "tail x --count 999999999999999999999999999999": "is too large",
    "tail x --timeout 0": "x>0, or none",
    "tail x --timeout nan": "'nan' is not a finite number, or none",
    "tail x --max-retries -1": "x>=0, or none",
    "tail x --events ,": "no event type is named",
    "tail x -H 'no colon'": "'no colon' is not 'Name: value'",
    "tail x -H 'no name: value'": "'no name' is no name of a header",
    "tail x -H 'X-A: line\nend'": "--header: the value of 'X-A' has a line end",
    "tail x -u nobody-to-ask": "USER:PASSWORD is needed where nobody can be asked",
    "tail x -d @no/such/file": "no/such/file cannot be read: No such file",
    "tail x --cacert no/such/file": "'no/such/file' does not exist",
    f"tail x --key {__file__}": "--key is the key of a certificate; give --cert, too",
    f"tail x --cert {__file__}": f"--cert {__file__} cannot be used",
    f"tail x --cacert {__file__}": f"--cacert {__file__} cannot be used",
    "tail x -x ftp://host": "--proxy cannot be used",
    "tail x -x me:secret@host:port": "--proxy cannot be used",
    "tail ftp://host/x": "url must be an absolute http:// or https:// URL",
    "tail x --last-event-id ' x'": "--last-event-id cannot be sent in a header",
    "tail x -X 'G T'": "--request must ",
    "serve --port 0 --port 65536": "'--port': 65536 is not in the range",
    "serve --port 0 --host ''": "an address is needed, such as 127.0.0.1; 0.0.0.0 is every address",
    "serve --port 0 --store postgres://x": "is not a store: memory, sqlite:PATH or redis://HOST:PORT/DB",
    "serve --port 0 --store sqlite:": "is not a store",
    "serve --port 0 --store sqlite::memory:": "'sqlite::memory:' names no file; leave --store out",
    "serve --port 0 --store sqlite://rel.db": "'sqlite://rel.db' is a URL; write sqlite:PATH, such as sqlite:e",
    "serve --port 0 --store sqlite:///srv/abs.db": "is a URL; write sqlite:PATH",
    "serve --port 0 --store 'sqlite:file:x.db?mode=memory'": "is a URL; write sqlite:PATH",
    "serve --port 0 --store 'sqlite:~nobody-of-this-name/x.db'": "nobody of that name has a home here",
    "serve --port 0 --store redis://:secret@127.0.0.1:x/0": "a Redis store is redis://HOST:PORT/DB, with a port",
    "serve --port 0 --store redis://:secret@127.0.0.1:99999/0": "a Redis store is redis://HOST:PORT/DB",
    "serve --port 0 --store redis://127.0.0.1/zero": "a Redis store is redis://HOST:PORT/DB, with a port",
    "serve --port 0 --store 'rediss://[::1'": "a Redis store is redis://HOST:PORT/DB, with a port",
    "serve --port 0 --store 'redis://127.0.0.1:1?max_connections=x'": "--store: Invalid value for",
    "serve --port 0 --store 'redis://127.0.0.1:1?nonsense=1'": "--store: the URL of Redis has an option",
    "serve --port 0 --heartbeat 0": "'--heartbeat': 0.0 is not in the range x>0, or none",
    "serve --port 0 --rate 5": "--rate says how to publish; add --publish N",
    "serve --port 0 --complete": "--complete says how to publish; add --publish N",
    "fault": "--target",
    "fault --target 8000": "'8000' is not HOST:PORT, such as 127.0.0.1:8000",
    "fault --target http://host:80/": "is not HOST:PORT",
    "fault --target host:65536": "is not HOST:PORT",
    "fault --target host:+80": "is not HOST:PORT",
    "fault --target host:0": "'host:0' names no port; give the one that the server listens on",
    "fault --target 127.0.0.1:9 --at 5:flow": "'5:flow' is not SECONDS=ACTION, such as 5=black-hole",
    "fault --target 127.0.0.1:9 --at soon=flow": "'soon' is not a valid number",
    "fault --target 127.0.0.1:9 --at=-1=flow": "-1.0 is not in the range x>=0",
    "fault --target 127.0.0.1:9 --profile 7g": "unknown profile '7g'; choose one of slow-3g, 3g",
    "fault --target 127.0.0.1:9 --toxic rain": "unknown toxic 'rain'; choose one of latency",
    "fault --target 127.0.0.1:9 --toxic bandwidth:kbps=0": "kbps must be a number of kbps above 0",
    "fault --target 127.0.0.1:9 --at 1=explode": "unknown action 'explode'; choose one of",
    "load --users 70000": "--users must be from 1 to 60000",
    "load --messages 5 --duration 5": "--duration does not go with --messages",
    "load --rate 0": "0.0 is not in the range x>0",
    "load --duration 1e999": "'1e999' is not a finite number",
    "load --profiles 5g6": "clean",
    "load --profiles 4g:0": "with a share above 0",
    "load --no-proxy --drops 5": "--drops does not go with --no-proxy",
    "load --no-proxy --profiles 4g": "--profiles does not go with --no-proxy",
    "load --target http://host/": "--target is measured as it is, without a network: add --no-proxy",
    "load --target host --no-proxy": "--target must be an http or https URL",
    "load --output /nowhere/at/all.json": "there is no directory /nowhere/at",
    "load --output /": "'/' is a directory",
    "top 1 2": "unexpected extra argument",
    "top -- 0": "is not the number of a process",
    "top -- name": "is not the number of a process",
    "top -- host:": "is not the number of a process",
    "top -- :80": "is not the number of a process",
    "top -- h:65536": "is not the number of a process",
    "top 1 --interval=0": "--interval",
    "top 1 --interval=0.09": "--interval",
    "top 1 --interval=3601": "--interval",
    "top 1 --interval=nan": "--interval",
    "top 1 --interval=soon": "--interval",
    "top 1 --interval=-1": "--interval",
    "rules": "FORMAT",
    "rules nagios": "'nagios' is not one of",
    "rules prometheus --scale 0": "'--scale': 0.0 is not in the range x>0",
    "rules prometheus --scale 1e9": "use a smaller scale",
    "rules prometheus --runbooks https://host/": "must have one *",
    "rules prometheus --runbooks 'a*b*c'": "must have one *",
    "rules grafana --label a --label a": "'a' is there twice",
    "rules grafana --label job": "'job' is taken",
    "rules grafana --label state": "'state' is taken",
    "rules grafana --label=a --label=b --label=c --label=d": "at most 3, not 4",
    "rules grafana --label a-b": "label 'a-b': use lower-case letters",
    "rules grafana --scale 2": "--scale means nothing for grafana; it is for prometheus",
    "rules datadog --scale 2": "--scale means nothing for datadog",
    "rules grafana --runbooks '*'": "--runbooks means nothing for grafana",
    "rules datadog --label a": "--label means nothing for datadog",
    "report --form imaginary": "'imaginary' is not one of",
    "report --form netns": "'netns' is not one of",
    "report --form all": "'all' is not one of",
    "report flood": "'flood' is not one of",
    "report --seed x": "'x' is not a valid integer",
    "probe ftp://host/": "url must be an absolute",
    "probe --timeout 0 http://host/": "0 is not",
    "probe": "Missing argument",
    f"probe --key {__file__} http://host/": "--key is the key",
    "relay http://host/": "--to and --stream are needed",
    "relay http://host/ --to nonsense --stream x": "Redis URL must specify",
    "relay ftp://host/ --to redis://127.0.0.1:1/ --stream x": "url must be",
    "relay http://host/ --to redis://127.0.0.1:1/ --stream x --maxlen 0": "--maxlen",
    "relay --config nowhere.toml": "nowhere.toml",
    f"relay http://host/ --config {__file__}": "--config says all; give nothing beside it",
    f"relay --maxlen 7 --config {__file__}": "--config says all; give nothing beside it",
}
"""What is typed, and what the complaint says."""


@pytest.mark.parametrize("typed", REFUSED)
def test_what_makes_no_sense_is_refused(run, monkeypatch, typed):
    """Bad input: before anything is started, with the option's name and the way to the command's help."""
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(load, "run_load", None)
    done = run(*shlex.split(typed))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done
    assert REFUSED[typed] in done.err
    who = f"resilient-sse {typed.split()[0]}"
    assert done.err.startswith(f"{who}: error: ")
    assert done.err.endswith(f"; see '{who} --help'\n")
    assert "secret" not in done.err


STORE = "the store is out of reach; check --store"
REFUSED_THERE = "connection lost: connect (connection refused)"

FAILED = {
    "fault --target 'no host:80'": (2, "the host 'no host' is unknown; give an address"),
    "fault --target 127.0.0.1:9 --listen 192.0.2.1:0": (2, "cannot listen on 192.0.2.1"),
    "fault --target 127.0.0.1:9 --listen {site}": (
        2,
        "cannot be used (Address already in use); choose another, or 0",
    ),
    "serve --port {port}": (
        2,
        "cannot be used (Address already in use); choose another, or 0 for a free one",
    ),
    "serve --host 198.51.100.7": (2, "cannot listen on 198.51.100.7: "),
    "serve --port 0 --store sqlite:/nowhere/at/all.db": (2, STORE),
    "serve --port 0 --store redis://127.0.0.1:1/0": (2, STORE),
    "tail 127.0.0.1:9 -q -o /nowhere/at/all": (4, "the output cannot be written: "),
    "tail http://{site}/reply -q -o /dev/full": (4, "the output cannot be written: "),
    "tail http://{site}/missing": (
        3,
        'status 404 instead of an event stream: {"error":"no such\\nstream \\u001b[2J"}\n',
    ),
    "tail http://{site}/missing?page": (
        3,
        "the server answered with status 404 instead of an event stream\n",
    ),
    "tail http://{site}/page": (
        3,
        "expected text/event-stream, the server sent 'text/html; charset=utf-8'\n",
    ),
    "tail -q http://{site}/endless?size=17000000": (
        4,
        "an event of more than 16777216 bytes, the most that max_event_bytes allows\n",
    ),
    "tail 127.0.0.1:9 -q --max-retries 0": (1, f"gave up after 1 failed attempt in 0.0 s: {REFUSED_THERE}"),
    "tail 127.0.0.1:9 -q --max-retries 1": (1, "gave up after 2 failed attempts in "),
    "probe -q http://127.0.0.1:9/": (4, REFUSED_THERE),
    "probe -q https://127.0.0.1:9/": (4, REFUSED_THERE),
    "probe -q https://{site}/": (4, "no TLS there"),
    "rules prometheus -o /nowhere/rules.yml": (4, "rules.yml cannot be written: No such file or directory"),
    "rules prometheus -o ''": (4, ". cannot be written: Is a directory; see --output"),
    "top 999999999 --once": (4, "process 999999999 has no console"),
    "top /nonexistent/x.sock --once": (4, "x.sock does not answer: No such file"),
    "top 127.0.0.1:1 --once": (4, "127.0.0.1:1 does not answer: Connection refused"),
}
"""What is typed, and how it ends because of what there is or is not."""


@pytest.mark.parametrize("typed", FAILED)
def test_what_cannot_be_done_is_told(run, site, monkeypatch, tmp_path, typed):
    """Bad input: in one line, with the exit code for it, and no traceback."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    code, words = FAILED[typed]
    site = site.removeprefix("http://")
    done = run(*shlex.split(typed.format(site=site, port=site.rpartition(":")[2])))
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1), done
    assert done.err.startswith("resilient-sse: error: ")
    assert words in done.err
