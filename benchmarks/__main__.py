"""
What an event costs resilient_sse, beside other clients of Server-Sent Events, measured side by side.

    python -m benchmarks                                  every row, every client that is installed
    python -m benchmarks --rows decode,bulk --rounds 9    some rows (names or beginnings of names)
    python -m benchmarks --json out.json --svg out.svg    the samples, and a chart
    python -m benchmarks --check                          equality of events only, in seconds: what CI runs

The clients are in the dependency group `bench`.  Read the ratios of one run, not the figures of two.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

from .chart import draw
from .payloads import KINDS
from .peers import BASE, PEERS
from .report import figures, show, summary, versions
from .rows import ROWS
from .run import Client, Run, server


def chosen(wanted: str | None, names: Iterable[str]) -> list[str]:
    """Return the names that are wanted by name or by how they begin; all if nothing is said."""
    names = list(names)
    if wanted is None:
        return names
    found: list[str] = []
    for word in wanted.split(","):
        matching = [name for name in names if name == word] or [n for n in names if n.startswith(word)]
        if not matching:
            raise SystemExit(f"no such name: {word}; there are: {', '.join(names)}")
        found += matching
    return [name for name in names if name in found]


def installed(names: list[str]) -> list[str]:
    """Leave out what is not installed, loudly."""
    found: list[str] = []
    for name in names:
        missing = [module for module in PEERS[name].needs if find_spec(module) is None]
        if missing:
            print(f"NOT MEASURED: {name}: {', '.join(missing)} is not installed", file=sys.stderr)
        else:
            found.append(name)
    shaken = [name for name in found if {"requests", "urllib3"}.intersection(PEERS[name].needs)]
    if "niquests" in found and shaken:
        print(f"DO NOT TRUST {', '.join(shaken)}: niquests has replaced urllib3 here", file=sys.stderr)
    return found


def check_client(base: str, name: str) -> list[tuple[str, str, str]]:
    """Compare a client's events on every payload and every way; return what differs."""
    client = Client(name)
    ways = [("memory", kind) for kind in KINDS] if PEERS[name].memory else [("chunk", kind) for kind in KINDS]
    ways += [("bulk", "typical"), ("chunk", "typical"), ("live", "typical")]
    try:
        return [(path, kind, found) for path, kind in ways if (found := client.check(base, path, kind))]
    finally:
        client.close()


def check(names: list[str]) -> int:
    """Compare only; fail where a client differs that is not known to."""
    status = 0
    with server() as base, ThreadPoolExecutor(4) as pool:
        for name, found in zip(names, pool.map(lambda name: check_client(base, name), names), strict=True):
            for path, kind, what in found:
                known = kind in PEERS[name].deviates
                print(f"{name}: {kind} ({path}): {what}{', as known' if known else ''}")
                status |= not known
            if not found:
                print(f"{name}: equal")
    return status


def measure(names: list[str], options: argparse.Namespace) -> int:
    begun, load = time.monotonic(), os.getloadavg()
    results = []
    with server() as base:
        run = Run(base, names, options.rounds, options.seconds)
        try:
            for row in chosen(options.rows, ROWS):
                run.measure(ROWS[row].work)
                results.append(figures(run, ROWS[row]))
                print(show(results[-1]), flush=True)
        finally:
            run.close()
    print(f"\n{summary(results, names)}")
    loads = {"before": load, "after": os.getloadavg()}
    print(
        f"\nload average {load[0]:.1f} before, {loads['after'][0]:.1f} after; {os.cpu_count()} CPUs;", end=" "
    )
    print(f"{options.rounds} rounds of {options.seconds:g} s; {time.monotonic() - begun:.0f} s in all")
    if options.json:
        about = {"versions": versions(names), "cpus": os.cpu_count(), "load": loads, "platform": sys.platform}
        about |= {"rounds": options.rounds, "seconds": options.seconds, "base": BASE}
        options.json.write_text(json.dumps({**about, "rows": results}, indent=1) + "\n", encoding="utf-8")
    if options.svg:
        options.svg.write_text(draw(results), encoding="utf-8")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", metavar="NAMES", help=f"some of: {', '.join(ROWS)}")
    parser.add_argument(
        "--peers", metavar="NAMES", help=f"some of: {', '.join(PEERS)}; {BASE} is always there"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each client (default: 5)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of one turn (default: 0.5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a chart")
    parser.add_argument("--check", action="store_true", help="compare events, measure nothing")
    options = parser.parse_args()
    wanted = None if options.peers is None else f"{options.peers},{BASE}"
    names = installed(chosen(wanted, PEERS))
    return (
        check([name for name in names if PEERS[name].unit == "event"])
        if options.check
        else measure(names, options)
    )


if __name__ == "__main__":
    sys.exit(main())
