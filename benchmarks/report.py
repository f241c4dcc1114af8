"""Medians, spreads and ratios of a run, as tables."""

from __future__ import annotations

import platform
import statistics
from importlib.metadata import packages_distributions, version
from typing import Any

from .peers import BASE, PEERS
from .rows import Row
from .run import Run

Result = dict[str, Any]


def figures(run: Run, row: Row) -> Result:
    """Return a row as plain values; clients from the cheapest to the dearest."""
    clients: list[Result] = []
    samples = run.samples[row.work]
    medians = {name: statistics.median(s[row.key] for s in found) for name, found in samples.items() if found}
    best = {name: min(s[row.key] for s in found) for name, found in samples.items() if found}
    for name, median in sorted(medians.items(), key=lambda item: item[1]):
        values = [sample[row.key] for sample in samples[name]]
        clients.append(
            {
                "name": name,
                "median": median * row.scale,
                "ratio": medians[BASE] / median if BASE in medians and median > 0 else None,
                "best_ratio": best[BASE] / best[name] if BASE in best and best[name] > 0 else None,
                "spread": (max(values) - min(values)) / median if median else None,
                "also": statistics.median(sample[row.also] for sample in samples[name]) * row.also_scale,
                "samples": [value * row.scale for value in values],
            }
        )
    result: Result = {"row": row.name, "title": row.title, "unit": row.unit, "clients": clients}
    result |= {"also_unit": row.also_unit, "left_out": run.left_out[row.work]}
    if rate := run.server.get(row.work):
        fastest = max((c["also"] for c in clients if PEERS[c["name"]].unit == "event"), default=0.0)
        result["server"] = {"events_per_second": rate, "fastest_client": fastest, "faster": rate > fastest}
    return result


def versions(names: list[str]) -> dict[str, str]:
    owners = packages_distributions()
    packages = {owner for name in names for module in PEERS[name].needs for owner in owners.get(module, [])}
    return {"python": platform.python_version(), **{each: version(each) for each in sorted(packages)}}


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def show(result: Result) -> str:
    """Return one row, with its spreads and with why a client is missing."""
    lines = [["client", result["unit"], f"times {BASE}", "best rounds", "spread", result["also_unit"]]]
    for client in result["clients"]:
        cells = (number(client[key]) for key in ("median", "ratio", "best_ratio", "spread", "also"))
        lines.append([client["name"], *cells])
    text = [f"\n{result['title']}", table(lines)]
    text += [f"  {name}: {why}" for name, why in result["left_out"].items() if why != "-"]
    if server := result.get("server"):
        rate, fastest = server["events_per_second"], server["fastest_client"]
        proof = "faster than any client" if server["faster"] else "NOT FASTER than every client"
        text.append(f"  the server: {rate:,.0f} events/s, {proof} (at most {fastest:,.0f})")
    return "\n".join(text)


def summary(results: list[Result], names: list[str]) -> str:
    """Return all rows as one table in Markdown: the median, and in brackets the ratio."""
    lines = [["client", *(result["row"] for result in results)]]
    for name in names:
        cells: list[str] = []
        for result in results:
            found = next((client for client in result["clients"] if client["name"] == name), None)
            why = str(result["left_out"].get(name, "-"))
            ratio = f" ({number(found['ratio'])})" if found and found["ratio"] else ""
            cells.append(number(found["median"]) + ratio if found else why.partition(":")[0])
        lines.append([name, *cells])
    return table(lines)
