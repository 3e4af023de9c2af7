"""The tables for the page on performance, made of the samples."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.apart import PARTS
from benchmarks.imports import BARE, BESIDE_PYTEST, LINES
from benchmarks.results import IMPORT_GOAL, NAMES, Results, goals

BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
KERNELS_BEGIN, KERNELS_END = "<!-- bench-kernels -->", "<!-- /bench-kernels -->"
OURS = "session"
UNTUNED = ("raw-untuned", "testcontainers", "testcontainers-10ms", "dockerspawner")
DOES = {
    ("list", OURS): "one call, and asks each server",
    ("list", "raw"): "inspects each container",
    ("list-unprobed", OURS): "one call",
    ("list-unprobed", "raw"): "one call",
    ("get", OURS): "reads the token by exec, and proves the server",
    ("get", "raw"): "inspects the container",
    ("get-again", OURS): "inspects the container, and asks the server",
    ("get-again", "raw"): "inspects the container, and asks the server",
}
LOOKUPS = {
    "list": "`list`",
    "list-unprobed": "`list(probe=False)`",
    "get": "`get`, the first of a process",
    "get-again": "`get` again",
}


def write_into(page: Path, text: str) -> None:
    """Put the text between the page's two marks."""
    write_between(page, BEGIN, END, text)


def write_between(page: Path, first: str, last: str, text: str) -> None:
    """Put the text between two marks of a page."""
    before, begin, rest = page.read_text().partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        msg = f"{page} has no {first} … {last}"
        raise ValueError(msg)
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def report(results: Results, picture: str = "") -> str:
    parts = [
        heading(results),
        f"![seconds of a start, by candidate]({picture})" if picture else "",
        single(results, "start", "a start, until it answers"),
        taken_apart(results),
        together(results),
        single(results, "stop", "a stop, until the container is gone"),
        lookups(results),
        code(results),
        imports(results),
        goals_met(results),
        better(results),
    ]
    return "\n\n".join(part for part in parts if part)


def report_kernels(results: Results) -> str:
    """The table of kernels in containers, which is measured by itself and has a date of its own."""
    return "\n\n".join((heading(results), kernels(results), goals_met(results)))


def kernels(results: Results) -> str:
    rows = []
    for name in results.candidates("kernel-start"):
        row = [NAMES[name]]
        for what in ("kernel-start", "kernel-restart", "kernel-end"):
            beside = results.median(f"{what}/{name}") / results.median(f"{what}/process")
            row += [span(results, f"{what}/{name}"), "" if name == "process" else f"{beside:.2f}"]
        rows.append(row)
    return table(("a kernel", "start, s", "/ process", "restart, s", "/ process", "end, s", "/ process"), rows)


def heading(results: Results) -> str:
    known = dict(results.versions)
    cores = known.pop("cores", "?")
    text = ", ".join(f"{name} {version}" for name, version in known.items())
    return (
        f"{results.date}, {cores} cores; {text}. Medians of interleaved rounds, with the smallest and the largest; "
        "read the ratios: *ours / it* under 1 is where jupyter_launcher is faster."
    )


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    columns = list(columns)
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def span(results: Results, key: str, unit: float = 1.0, digits: int = 2) -> str:
    low, high = (f"{value * unit:.{digits}f}" for value in (min(results.samples[key]), max(results.samples[key])))
    return f"{results.median(key) * unit:.{digits}f} ({low} to {high})"


def ratio(results: Results, what: str, name: str) -> str:
    if name.startswith(OURS) or f"{what}/{OURS}" not in results.samples:
        return ""
    return f"{results.median(f'{what}/{ours_beside(results, what, name)}') / results.median(f'{what}/{name}'):.2f}"


def ours_beside(results: Results, what: str, name: str) -> str:
    """Which of our own rows a peer's row stands beside: with a gateway, or of the same image."""
    if name.endswith("-gateway"):
        return f"{OURS}-gateway"
    untuned = f"{OURS}-untuned"
    return untuned if name in UNTUNED and f"{what}/{untuned}" in results.samples else OURS


def single(results: Results, what: str, title: str) -> str:
    rows = [
        (described(what, name), span(results, f"{what}/{name}"), ratio(results, what, name))
        for name in results.candidates(what)
    ]
    return table((title, "seconds", "ours / it"), rows) if rows else ""


def taken_apart(results: Results) -> str:
    keys = [f"apart/{part}" for part in PARTS if f"apart/{part}" in results.samples]
    whole = sum(results.median(key) for key in keys)
    rows = [
        (key.partition("/")[2], span(results, key, 1000, 0), f"{100 * results.median(key) / whole:.0f} %")
        for key in keys
    ]
    return table(("where our start goes", "milliseconds", "of the whole"), rows) if rows else ""


def described(what: str, name: str) -> str:
    """A candidate's name, with what its stop does: some kill, and some ask."""
    if what != "stop":
        return NAMES[name]
    if name.startswith("testcontainers"):
        return f"{NAMES[name].partition(',')[0]}: kills"
    return NAMES[name] + (" and 3 kernels on it" if name.endswith("-gateway") else "")


def together(results: Results) -> str:
    counts = results.counts("together")
    if not counts:
        return ""
    names = results.candidates(f"together/{counts[0]}")
    rows = []
    for name in names:
        cells = [NAMES[name] + (" (2 in flight, looks each 100 ms)" if name == "raw-ours" else "")]
        for count in counts:
            key = f"together/{count}/{name}"
            first = f", first {results.median(f'{key}/first'):.1f}" if count > 1 else ""
            beside = ratio(results, f"together/{count}", name)
            cells.append(f"{results.median(key):.1f}{first}" + (f" · {beside}" if beside else ""))
        rows.append(cells)
    columns = ["starts at once, seconds until all answer · ours / it", *(str(count) for count in counts)]
    return table(columns, rows)


def lookups(results: Results) -> str:
    counts = results.counts("list")
    rows = [
        [
            f"{text}, {NAMES[name]}: {DOES[what, name]}",
            *(span(results, f"{what}/{count}/{name}", 1000, 0) for count in counts),
        ]
        for what, text in LOOKUPS.items()
        for name in (OURS, "raw")
        if results.counts(what) == counts
    ]
    return table(["milliseconds, with so many sessions", *map(str, counts)], rows) if rows else ""


def code(results: Results) -> str:
    rows = [
        (NAMES[name], span(results, f"code/{name}", 1000, 1), ratio(results, "code", name))
        for name in results.candidates("code")
    ]
    return table(("`1 + 1` on a kernel that runs", "milliseconds", "ours / it"), rows) if rows else ""


def imports(results: Results) -> str:
    keys = [f"import/{name}" for name in LINES if f"import/{name}" in results.samples]
    if not keys:
        return ""
    bare = results.median(f"import/{BARE}")
    rows = []
    for key in keys:
        name = key.removeprefix("import/")
        # That one has measured itself inside a process that runs anyway.
        own = name in {BARE, BESIDE_PYTEST}
        rows.append((name, span(results, key, 1000, 0), "" if own else f"{(results.median(key) - bare) * 1000:+.0f}"))
    return table(("process", "milliseconds", "more than a bare Python"), rows)


def goals_met(results: Results) -> str:
    rows = []
    for goal in goals():
        seen = goal.ratio(results)
        if seen is not None:
            rows.append((goal.text, f"{seen:.2f}", f"{goal.at_most:.2f}", "met" if seen <= goal.at_most else "not met"))
    if f"import/{BARE}" in results.samples:
        more = results.median("import/import jupyter_launcher") - results.median(f"import/{BARE}")
        verdict = "met" if more < IMPORT_GOAL else "not met"
        rows.append(
            ("import, more than a bare Python", f"{more * 1000:.0f} ms", f"{IMPORT_GOAL * 1000:.0f} ms", verdict)
        )
    return table(("ratio of medians", "seen", "goal: at most", ""), rows) if rows else ""


def better(results: Results) -> str:
    """Where a peer is faster, in words."""
    found = []
    what_of = {
        "start": "a start",
        "stop": "a stop",
        "code": "code",
        **{f"together/{count}": f"{count} at once" for count in results.counts("together")},
        **{
            f"{what}/{count}": f"{text}, of {count}" for what, text in LOOKUPS.items() for count in results.counts(what)
        },
    }
    for what, text in what_of.items():
        for name in results.candidates(what):
            beside = ratio(results, what, name)
            if beside and float(beside) > 1:
                found.append(f"{text}: {described(what, name)} ({beside})")
    return f"Where a peer is faster: {'; '.join(found)}." if found else "No peer was faster at any of these."
