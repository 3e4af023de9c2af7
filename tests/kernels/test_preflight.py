"""The look into images of kernels, with odd ones, on a real engine."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import DEFAULT_IMAGE, KernelImage, KernelImageError, Launcher, LauncherError, Mount, OptionError
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.gateway import preflight
from jupyter_launcher.gateway.preflight import check_kernel_limits, find_kernels
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.models.kernels import Isolation
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.options import check_kernels
from jupyter_launcher.spec.labels import helper_labels
from tests.kernels.conftest import OWNER

USER = f"{OWNER}:{OWNER}"
SPECS = "/opt/jupyter/share/jupyter/kernels"
ARGUMENTS = ("-m", "ipykernel_launcher", "-f", "{connection_file}")
IPYKERNEL = ("/opt/jupyter/bin/python3", *ARGUMENTS)
OTHER_MACHINE = "7f454c46020101" + "00" * 9 + "0200ff0001" + "00" * 43  # an ELF header
PYTHON = ("/opt/jupyter/bin/python3", "-c")  # a shell cannot take itself away
SH = ("sh", "-c")
ODD: Mapping[str, tuple[str, ...]] = {
    "no-sh": (*PYTHON, "import os; os.remove('/usr/bin/sh')"),
    "other-machine": (*PYTHON, f"open('/usr/bin/dash', 'wb').write(bytes.fromhex('{OTHER_MACHINE}'))"),
    "no-base64": ("rm", "/usr/bin/base64"),
    "no-spec": ("rm", "-r", f"{SPECS}/python3"),
    "no-kernel": (*SH, f"rm -r {SPECS}/python3 /opt/jupyter/lib/python3.*/site-packages/ipykernel_launcher.py"),
    "several": (*SH, f"cp -r {SPECS}/python3 {SPECS}/one && mv {SPECS}/python3 {SPECS}/two"),
    "broken": (*SH, f"echo '{{' >{SPECS}/python3/kernel.json"),
    "no-program": (*SH, f'echo \'{{"argv": ["julia", "{{connection_file}}"]}}\' >{SPECS}/python3/kernel.json'),
    "no-python": (*SH, "rm -rf /opt/jupyter/bin/python* /usr/bin/python* /usr/local/bin/python*"),
    "slow-python": (*SH, "echo 'import time; time.sleep(1000)' >$(ls -d /opt/jupyter/lib/py*)/site-packages/a.pth"),
}
"""A name → a command that makes the default image so."""
ENTRYPOINTS: Mapping[str, tuple[str, ...]] = {
    "deaf": ("echo", "I serve:"),
    "busy": (*SH, "echo serving; exec sleep 1000"),
    "noisy": (*SH, '(while sleep 0.01; do echo noise; done) & printf hello; "$@"', "entry"),
}


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    engine = DockerEngine.connect()
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def odd(client: Any) -> Iterator[Odd]:
    images = Odd(client)
    try:
        yield images
    finally:
        images.remove()


class Odd:
    """Images made of the default one, each when a test needs it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._repository = f"jupyter-launcher/test-odd-{uuid.uuid4().hex[:8]}"
        self._built: set[str] = set()

    def __call__(self, name: str) -> str:
        if name not in self._built:
            changes = f"ENTRYPOINT {json.dumps(ENTRYPOINTS[name])}" if name in ENTRYPOINTS else None
            made = self._client.containers.create(DEFAULT_IMAGE, list(ODD.get(name, ("true",))), user="0:0")
            try:
                made.start()
                assert made.wait()["StatusCode"] == 0, made.logs()
                made.commit(self._repository, name, changes=changes)
            finally:
                made.remove(force=True)
            self._built.add(name)
        return f"{self._repository}:{name}"

    def remove(self) -> None:
        for name in self._built:
            self._client.images.remove(f"{self._repository}:{name}", force=True)


@pytest.fixture(autouse=True)
def no_look_left(client: Any) -> Iterator[None]:
    yield
    filters = {"label": [f"{name}={text}" for name, text in helper_labels("look", process_mark()).items()]}
    assert client.containers.list(all=True, filters=filters, ignore_removed=True) == []


def look(
    engine: DockerEngine, image: str | KernelImage, isolation: str = "environment", user: str = USER
) -> FoundKernel:
    options = check_kernels({"k": image}, isolation, 16, None)
    assert options is not None
    return find_kernels(engine, options, user)["k"]


def refused(engine: DockerEngine, image: str | KernelImage, isolation: str = "environment") -> KernelImageError:
    with pytest.raises(KernelImageError) as caught:
        look(engine, image, isolation)
    assert caught.value.kernel == "k"
    return caught.value


def test_the_default_image(engine: DockerEngine) -> None:
    found = look(engine, DEFAULT_IMAGE)
    assert found.argv[1:] == ARGUMENTS
    assert found.argv[0].startswith("/opt/jupyter/bin/python")
    assert (found.display_name, found.language, found.interrupt_mode, found.encrypts) == (
        "k",
        "python",
        "message",
        True,
    )
    assert found.python.startswith("/opt/jupyter/bin/python")
    assert found.metadata == {"debugger": True}
    assert {"logo-64x64.png", "logo-svg.svg"} <= set(found.logos)
    assert found.logos["logo-64x64.png"].startswith(b"\x89PNG")
    assert found.home_is_writable


@pytest.mark.parametrize("user", ["0:0", "4242:4242"])
def test_users(engine: DockerEngine, user: str) -> None:
    assert look(engine, DEFAULT_IMAGE, user=user).python
    assert not look(engine, KernelImage(DEFAULT_IMAGE, environment={"HOME": "/nowhere"}), user=user).home_is_writable


def test_images_at_once(engine: DockerEngine, odd: Odd) -> None:
    options = check_kernels({"a": DEFAULT_IMAGE, "b": odd("no-spec"), "c": odd("noisy")}, "kernel", 16, None)
    assert options is not None
    assert list(find_kernels(engine, options, USER)) == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["no-sh", "other-machine"])
def test_an_image_in_which_nothing_can_be_looked_at(engine: DockerEngine, odd: Odd, name: str) -> None:
    seen = {"no-sh": "has no `sh` on its PATH", "other-machine": "another kind of processor"}[name]
    for entrypoint in (True, False):
        assert seen in refused(engine, KernelImage(odd(name), entrypoint=entrypoint)).message


def test_without_base64(engine: DockerEngine, odd: Odd) -> None:
    assert look(engine, odd("no-base64")) == look(engine, DEFAULT_IMAGE)


def test_ipykernel_without_a_spec(engine: DockerEngine, odd: Odd) -> None:
    found = look(engine, odd("no-spec"))
    assert found.argv == IPYKERNEL
    assert found.encrypts


def test_no_kernel(engine: DockerEngine, odd: Odd) -> None:
    assert "has no kernel" in refused(engine, odd("no-kernel")).message


def test_several_kernels(engine: DockerEngine, odd: Odd) -> None:
    assert "none is named python3: one, two" in refused(engine, odd("several")).message
    given = KernelImage(odd("several"), argv=["python3", *ARGUMENTS])
    assert look(engine, given).encrypts


@pytest.mark.parametrize(("name", "seen"), [("broken", "cannot be read"), ("no-program", "has no program 'julia'")])
def test_a_spec_that_does_not_work(engine: DockerEngine, odd: Odd, name: str, seen: str) -> None:
    assert seen in refused(engine, odd(name)).message


def test_no_python(engine: DockerEngine, odd: Odd) -> None:
    image = KernelImage(odd("no-python"), argv=["sleep", "{connection_file}"])
    assert 'isolation="kernel"' in refused(engine, image).hint
    assert look(engine, image, "kernel").python == ""


def test_a_program_that_is_not_there(engine: DockerEngine) -> None:
    image = KernelImage(DEFAULT_IMAGE, argv=["/opt/julia", "{connection_file}"])
    assert "has no program '/opt/julia', which argv names" in refused(engine, image).message


def test_an_entrypoint_that_does_not_run_its_arguments(engine: DockerEngine, odd: Odd) -> None:
    error = refused(engine, odd("deaf"))
    assert "has the ENTRYPOINT 'echo I serve:', which ended with exit code 0" in error.message
    assert "entrypoint=False" in error.hint
    assert "I serve:" in error.output
    assert look(engine, KernelImage(odd("deaf"), entrypoint=False)).encrypts


def test_an_entrypoint_that_serves(engine: DockerEngine, odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_LOOK_SECONDS", 3.0)
    error = refused(engine, odd("busy"))
    assert "which does not end" in error.message
    assert error.output == "serving"


def test_an_entrypoint_that_prints_meanwhile(engine: DockerEngine, odd: Odd) -> None:
    assert look(engine, odd("noisy")) == look(engine, DEFAULT_IMAGE)


def test_a_python_that_hangs(engine: DockerEngine, odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_LOOK_SECONDS", 3.0)
    error = refused(engine, odd("slow-python"))
    assert "could not be looked into within 3 s" in error.message
    assert error.output == ""


def test_memory_that_is_not_enough(engine: DockerEngine) -> None:
    """Docker refuses so little, and Podman runs the look, which the kernel then kills."""
    with pytest.raises((OptionError, KernelImageError), match="memory"):
        look(engine, KernelImage(DEFAULT_IMAGE, memory=2**20))


def test_a_mount_is_refused_before_anything_starts(
    launcher: Launcher, pipeline_dir: Path, tmp_path: Path, isolation: Isolation
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    kernels = {"k": KernelImage(DEFAULT_IMAGE, mounts=[Mount(source=str(data), target="/data", read_only=True)])}
    with launcher.run_gateway(pipeline_dir, kernels=kernels, isolation=isolation):
        data.rmdir()
    with (
        pytest.raises(LauncherError, match=re.escape(str(data))),
        launcher.run_gateway(pipeline_dir, kernels=kernels, isolation=isolation),
    ):
        pytest.fail("there is nothing to mount")
    assert not data.exists()


def test_more_cores_than_the_engine_has(engine: DockerEngine) -> None:
    options = check_kernels({"k": KernelImage(DEFAULT_IMAGE, cpus=1000)}, "kernel", 16, None)
    assert options is not None
    with pytest.raises(OptionError, match=r'kernels\["k"\]: cpus is 1000') as caught:
        check_kernel_limits(engine.traits, options)
    assert caught.value.option == "kernels"
