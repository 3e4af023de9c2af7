"""Measure this library beside its peers, and write the tables and the picture of docs/performance.md.

python -m benchmarks [--rounds 7] [--parts starts,apart,together,lookups,code,imports,kernels] [--again]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker

from benchmarks import apart, code, images, imports, kernels, lookups, starts, together
from benchmarks.candidate import LABEL, Setting, Start
from benchmarks.containers import in_testcontainers
from benchmarks.hub import dockerspawner, running_hub
from benchmarks.plot import draw
from benchmarks.raw import raw
from benchmarks.report import KERNELS_BEGIN, KERNELS_END, report, report_kernels, write_between, write_into
from benchmarks.results import Results
from benchmarks.session import session, warm
from jupyter_launcher import DEFAULT_IMAGE, Launcher

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "benchmarks/samples.json"
KERNEL_SAMPLES = ROOT / "benchmarks/kernels.json"
PAGE = ROOT / "docs/performance.md"
PICTURE = Path("pictures/bench.svg")  # as the page names it
PARTS = ("starts", "apart", "together", "lookups", "code", "imports", "kernels")
BEST_BOUND = 2


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is cleaned up then, too
    if options.again:
        results, of_kernels = Results.read(SAMPLES), Results.read(KERNEL_SAMPLES)
    else:
        with contextlib.closing(docker.from_env(timeout=600)) as client:
            results, of_kernels = Results.begin(client), Results.begin(client)
            measured(results, of_kernels, client, options)
    if options.again or set(options.parts) == set(PARTS):
        results.write(SAMPLES)
        draw(results, PAGE.parent / PICTURE)
        write_into(PAGE, report(results, str(PICTURE)))
    if "kernels" in options.parts:  # a table of its own, with a date of its own
        of_kernels.write(KERNEL_SAMPLES)
        write_between(PAGE, KERNELS_BEGIN, KERNELS_END, report_kernels(of_kernels))
        print(report_kernels(of_kernels))
    if results.samples:
        print(report(results))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="sessions beside their peers")
    parser.add_argument("--rounds", type=int, default=7, help="of single starts and stops; %(default)s")
    parser.add_argument("--together-rounds", type=int, default=3, help="of starts at once; %(default)s")
    parser.add_argument("--counts", type=numbers, default=[1, 4, 8, 16], help="starts at once; 1,4,8,16")
    parser.add_argument("--sessions", type=numbers, default=[1, 10, 100], help="for list and get; 1,10,100")
    parser.add_argument(
        "--parts",
        type=lambda text: text.split(","),
        default=list(PARTS),
        help=f"{','.join(PARTS)}; with fewer than all, results are printed, and those of kernels alone written",
    )
    parser.add_argument("--again", action="store_true", help="measure nothing, write anew from the last samples")
    options = parser.parse_args()
    if not set(options.parts) <= set(PARTS):
        parser.error(f"parts are {', '.join(PARTS)}")
    return options


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def measured(results: Results, of_kernels: Results, client: Any, options: argparse.Namespace) -> None:
    parts, run = set(options.parts), f"jupyter-launcher-benchmark-{os.getpid()}"
    if parts - {"imports", "kernels"}:
        with (
            images.untuned(client, run) as untuned,
            images.with_jupyterhub(client, run, untuned) as hub_image,
            setting_of(client, run, untuned, hub_image) as setting,
        ):
            in_containers(results, setting, options)
    if "kernels" in parts:
        with setting_of(client, run) as setting:
            kernels.measure(of_kernels, setting, 2 * options.rounds)
    if "imports" in parts:
        imports.measure(results, 2 * options.rounds + 1)


@contextlib.contextmanager
def setting_of(client: Any, run: str, untuned: str = "", hub_image: str = "") -> Iterator[Setting]:
    """A folder and a launcher; whatever happens, what carries this run's names is removed."""
    with tempfile.TemporaryDirectory() as name, Launcher(namespace=f"benchmark-{os.getpid()}") as launcher:
        folder = Path(name)
        folder.chmod(0o755)
        setting = Setting(
            run=run, client=client, launcher=launcher, folder=folder, untuned=untuned, hub_image=hub_image
        )
        try:
            yield setting
        finally:
            for label in (f"{LABEL}={run}", f"jupyter-launcher.namespace={launcher.namespace}"):
                for container in client.containers.list(all=True, filters={"label": label}, ignore_removed=True):
                    container.remove(force=True)


def in_containers(results: Results, setting: Setting, options: argparse.Namespace) -> None:
    if "code" in options.parts:
        code.measure(results, setting, 10 * options.rounds)
    users = max(options.counts)
    with running_hub(setting, users) as hub, setting.launcher.run_gateway(setting.folder) as gateway:
        results.versions.update(versions_inside(setting))
        networks = setting.client.containers.get(gateway.name).attrs["NetworkSettings"]["Networks"]
        url = f"http://{networks['bridge']['IPAddress']}:8888"
        candidates: dict[str, Start] = {
            "session": session(setting),
            "raw-ours": raw(setting, DEFAULT_IMAGE),
            "raw-untuned": raw(setting, setting.untuned),
            "testcontainers": in_testcontainers(setting),
            "testcontainers-10ms": in_testcontainers(setting, poll=0.01),
            "dockerspawner": dockerspawner(hub),
            "session-gateway": session(setting, gateway=gateway.name),
            "session-untuned": session(setting, image=setting.untuned),
            "raw-ours-gateway": raw(setting, DEFAULT_IMAGE, gateway_url=url, gateway_token=gateway.token),
        }
        if "starts" in options.parts:
            with warm(setting) as pooled:
                if pooled is None:
                    starts.measure(results, candidates, options.rounds, {})
                else:
                    more = {**candidates, "session-warm": pooled[0]}
                    starts.measure(results, more, options.rounds, {"session-warm": pooled[1]})
        if "apart" in options.parts:
            apart.measure(results, setting, options.rounds)
        if "together" in options.parts:
            at_once = {
                "session": together.Bounded(start=candidates["session"]),
                "raw-ours": together.Bounded(start=raw(setting, DEFAULT_IMAGE, poll=0.1), in_flight=BEST_BOUND),
                "testcontainers-10ms": together.Bounded(start=candidates["testcontainers-10ms"]),
                "dockerspawner": together.Bounded(start=candidates["dockerspawner"]),
            }
            together.measure(results, at_once, options.counts, options.together_rounds)
    if "lookups" in options.parts:
        lookups.measure(results, setting, options.sessions, 3 * options.rounds)


def versions_inside(setting: Setting) -> dict[str, str]:
    """What the servers run."""
    lab, python, node = (
        setting.client.containers.run(
            setting.untuned, ["sh", "-c", "jupyter lab --version; python -V; node -v"], remove=True
        )
        .decode()
        .split("\n")[:3]
    )
    return {"JupyterLab": lab, "its Python": python.removeprefix("Python "), "its node": node.removeprefix("v")}


if __name__ == "__main__":
    main()
