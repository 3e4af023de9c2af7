"""The example with two versions of Python, and the command as its users type it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import DEFAULT_IMAGE, Launcher
from tests.containers import build_image, eventually
from tests.kernels.conftest import ENGINE_SOCKET, containers_of

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "kernels"
# The example's launcher has the default namespace, where a test of ours may not leave anything, and no `engine_socket`.
RUN = """
import os, runpy, sys
from jupyter_launcher import Launcher
defaults = {"namespace": sys.argv.pop(1), "engine_socket": os.environ.get("ENGINE_SOCKET")}
Launcher.__init__.__kwdefaults__.update(defaults)
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""
SECONDS = 180


def command(namespace: str, *line: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the command in the namespace of a test."""
    argv = [sys.executable, "-m", "jupyter_launcher", "--namespace", namespace, *map(str, line)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_each_step_runs_on_its_own_python(namespace: str, pipeline_dir: Path, python_311: str, isolation: str) -> None:
    argv = [sys.executable, "-c", RUN, namespace, EXAMPLE / "two_pythons.py", pipeline_dir, python_311, DEFAULT_IMAGE]
    done = subprocess.run(
        [*map(str, argv), f"--isolation={isolation}"], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.stdout == "measured by Python 3.11, summed by Python 3.13: 7\n", done.stderr


def test_its_image_can_be_built_and_run(client: Any, launcher: Launcher, pipeline_dir: Path, python_311: str) -> None:
    if launcher._engine.traits.is_podman:
        pytest.skip("Podman's build sets a limit of open files that not every host lets it set")
    tag = "jupyter-launcher/test-kernel:example"
    # The base has the package already, so nothing comes from a network.
    build_image(client, EXAMPLE, tag, {"BASE_IMAGE": python_311})
    try:
        with launcher.start(pipeline_dir, kernels={"py": tag}) as session:
            assert session.execute("import sys; print(sys.version_info[:2])").text == "(3, 11)\n"
    finally:
        client.images.remove(tag, force=True)


def test_a_gateway_of_the_command(client: Any, namespace: str, pipeline_dir: Path, isolation: str) -> None:
    given = ["--kernel", f"py={DEFAULT_IMAGE},env=A=b", "--isolation", isolation, "--detach", "--id", "team"]
    if ENGINE_SOCKET is not None:
        given += ["--engine-socket", ENGINE_SOCKET]
    first = json.loads(command(namespace, "gateway", pipeline_dir, *given, "--format", "json").stdout)
    assert (first["gateway_id"], first["kernels"], first["joined"]) == ("team", ["py"], False)
    again = json.loads(command(namespace, "gateway", pipeline_dir, *given, "--format", "json").stdout)
    assert (again["name"], again["joined"]) == (first["name"], True)
    assert "GATEWAY" in command(namespace, "list").stdout
    (listed,) = json.loads(command(namespace, "gateways", "--format", "json").stdout)
    assert (listed["isolation"], listed["kernel_images"]) == (isolation, {"py": DEFAULT_IMAGE})
    started = command(namespace, "start", pipeline_dir, "--gateway", first["name"], "--session-id", "one")
    assert first["name"] in started.stdout
    (pipeline_dir / "step.py").write_text("import os; print(os.environ['A'])")
    printed = command(namespace, "execute", "one", pipeline_dir / "step.py")
    assert printed.stdout == "b\n"
    command(namespace, "stop", "one")
    assert command(namespace, "stop-gateway", "te").stdout.startswith("team  ")
    assert containers_of(client, namespace) == []
    assert command(namespace, "stop-gateway", "team", code=6).stderr


def test_a_session_of_the_command_with_kernels_of_its_own(client: Any, namespace: str, pipeline_dir: Path) -> None:
    command(namespace, "start", pipeline_dir, "--kernel", f"py={DEFAULT_IMAGE}", "--session-id", "one")
    refused = command(namespace, "start", pipeline_dir, "--kernel", "py=other", "--session-id", "one", code=8)
    assert "--kernel" in refused.stderr
    assert "GATEWAY  " not in command(namespace, "list").stdout.partition("\n")[2], "it is of the session"
    command(namespace, "stop", "one")
    assert containers_of(client, namespace) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_gateway_in_the_foreground(client: Any, namespace: str, pipeline_dir: Path, number: signal.Signals) -> None:
    line = ["gateway", str(pipeline_dir), "--kernel", f"py={DEFAULT_IMAGE}"]
    argv = [sys.executable, "-m", "jupyter_launcher", "--namespace", namespace, *line]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for text in process.stderr:
            if "Ctrl-C stops" in text:
                break
        process.send_signal(number)
        assert process.wait(SECONDS) == 130
    assert eventually(lambda: containers_of(client, namespace) == [])
