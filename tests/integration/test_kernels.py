"""Kernels in containers: start, a cell, an interrupt, stop. `make test-kernels` has the rest."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import DEFAULT_IMAGE, CodeError, KernelImage, Launcher
from tests.containers import eventually
from tests.kernels.client import Kernels

ISOLATIONS = ("environment", "kernel")


@pytest.fixture
def made(client: Any, namespace: str) -> Callable[[], set[str]]:
    """The names of the containers of this namespace that are of gateways and their kernels."""

    def listed() -> set[str]:  # without a look at each, since those of other tests come and go
        return {item["Names"][0].removeprefix("/") for item in client.api.containers(all=True)}

    before = listed()

    def names() -> set[str]:
        found = listed() - before
        return {name for name in found if f".{namespace}." in name and not name.startswith("jupyter-server.")}

    return names


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_session_whose_kernels_have_containers(
    launcher: Launcher, pipeline_dir: Path, made: Callable[[], set[str]], isolation: Any
) -> None:
    images = {"py": KernelImage(DEFAULT_IMAGE, display_name="In a container")}
    session = launcher.start(pipeline_dir, kernels=images, isolation=isolation)
    try:
        specs = session.request("GET", "api/kernelspecs").json()["kernelspecs"]
        assert {name: item["spec"]["display_name"] for name, item in specs.items()} == {"py": "In a container"}
        assert session.execute("x = 6 * 7; import os; print(x, os.getcwd())").text == "42 /pipeline-dir\n"
        (kernel,) = session.kernels()
        began = "import os; os.system('touch began; sleep 60')"
        ended = threading.Thread(target=lambda: session.execute(began, check=False))
        ended.start()
        assert eventually((pipeline_dir / "began").exists)
        Kernels(session).interrupt(kernel.id)
        ended.join(30)
        assert not ended.is_alive()
        assert session.execute("print(x)").text == "42\n"
        with pytest.raises(CodeError, match="ZeroDivisionError"):
            session.execute("1 / 0")
        kinds = sorted(name.partition(".")[0] for name in made())
        parts = ["kernel-agent"] if isolation == "environment" else ["jupyter-kernel", "kernel-broker"]
        assert kinds == sorted(["kernel-gateway", *parts])
    finally:
        report = session.stop()
    assert report.kernels == report.kernels_gone == (kernel.id,)
    assert made() == set()


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_gateway_that_ends_with_its_command(
    namespace: str, pipeline_dir: Path, made: Callable[[], set[str]], isolation: Any
) -> None:
    command = [sys.executable, "-m", "jupyter_launcher", "--namespace", namespace, "--format", "json", "gateway"]
    command += [str(pipeline_dir), "--kernel", f"py={DEFAULT_IMAGE}", "--isolation", isolation]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = process.stdout.readline()
        while not text.endswith("}\n"):
            text += process.stdout.readline() or pytest.fail(f"no document: {text}")
        assert json.loads(text)["kernels"] == ["py"]
        assert len(made()) == 2
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert made() == set()
