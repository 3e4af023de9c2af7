"""Packages in a session: which Python's pip installs them, and what is refused before it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest

from jupyter_launcher import CommandError, Gateway, OptionError, ServerTimeoutError, WorkError
from jupyter_launcher.results import CommandResult
from jupyter_launcher.work.packages import find_python, install_packages
from jupyter_launcher.work.place import Place
from tests.unit.fakes import FakeEngine, container, http_server
from tests.unit.sessions.units import add_gateway

SERVERS = "/opt/jupyter/bin/python"
PIP = ("/opt/jupyter/bin/python", "-m", "pip", "install")


def spec(*argv: str, language: str = "python") -> dict[str, Any]:
    return {"spec": {"argv": list(argv), "language": language, "display_name": "some kernel"}}


def specs(default: str = "python3", **known: Any) -> dict[str, Any]:
    return {"default": default, "kernelspecs": known}


@pytest.mark.parametrize(
    ("answer", "python"),
    [
        (specs(python3=spec("python", "-m", "ipykernel_launcher")), SERVERS),
        (specs(python3=spec("python3.13", "-m", "ipykernel_launcher")), SERVERS),
        (specs(python3=spec("/opt/conda/bin/python3", "-m", "x")), "/opt/conda/bin/python3"),
        (specs(python3=spec("pypy3", "-m", "x")), "pypy3"),
        (specs("torch", python3=spec("python"), torch=spec("/envs/torch/bin/python")), "/envs/torch/bin/python"),
        (specs("ir", ir=spec("R", language="R"), a=spec("/a/python"), python3=spec("/p/python")), "/p/python"),
        (specs("ir", ir=spec("R", language="R"), b=spec("/b/python", language="Python")), "/b/python"),
        (specs("ir", ir=spec("R", language="R")), None),
        # Nobody takes the Python of another kernel for that of the default one.
        (specs(python3=spec("conda", "run", "python"), a=spec("/a/python")), None),
        (specs(python3=spec("python", language="python"), a=[]), SERVERS),
        (specs(python3=spec()), None),
        (specs(python3={"spec": {"argv": [["python"]], "language": "python"}}), None),
        (specs(python3={"spec": {"argv": "python", "language": "python"}}), None),
        (specs(python3={"spec": ["python"]}), None),
        ({"kernelspecs": ["python3"]}, None),
        (["python3"], None),
        (None, None),
    ],
)
def test_the_pip_is_that_of_the_default_kernels_python(answer: object, python: str | None) -> None:
    assert find_python(answer, SERVERS) == python


@pytest.mark.parametrize("servers", ["", "/bin/sh", "java", "/usr/bin/env"])
def test_the_servers_own_python_is_not_known(servers: str) -> None:
    assert find_python(specs(python3=spec("python")), servers) is None


class FakeRun:
    """``Session.run`` with an answer for each command, in their order."""

    def __init__(self, *answers: tuple[int, str, str]) -> None:
        self.answers = list(answers)
        self.commands: list[tuple[str, ...]] = []
        self.timeouts: list[float | None] = []

    def __call__(self, argv: Sequence[str], *, timeout: float | None = None, check: bool = True) -> CommandResult:
        assert not check
        self.commands.append(tuple(argv))
        self.timeouts.append(timeout)
        code, stdout, stderr = self.answers.pop(0)
        return CommandResult(argv=tuple(argv), exit_code=code, stdout=stdout, stderr=stderr)


def place(url: str = "http://127.0.0.1:9/", gateway: Gateway | None = None, engine: FakeEngine | None = None) -> Place:
    return Place(
        engine=engine or FakeEngine(),
        container="c" * 64,
        session_id="one",
        url=url,
        token="t" * 64,
        gateway=gateway,
        phase=lambda _: nullcontext(lambda _detail, _done=0, _total=0: None),
    )


@contextmanager
def server(answer: object = None, status: int = 200) -> Iterator[tuple[Place, list[tuple[str, str | None]]]]:
    asked: list[tuple[str, str | None]] = []
    body = specs(python3=spec("python", "-m", "ipykernel_launcher")) if answer is None else answer

    def respond(_: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        asked.append((path, headers.get("Authorization")))
        return status, json.dumps(body).encode()

    with http_server(respond) as url:
        yield place(url), asked


def test_packages_are_installed_by_the_kernels_python() -> None:
    run = FakeRun((0, f"{SERVERS}\n", ""), (0, "Successfully installed tiny-1.0\n", ""))
    with server() as (where, asked):
        result = install_packages(where, run, ("tiny", "other==2"), timeout=77.0)
    assert result.stdout == "Successfully installed tiny-1.0\n"
    assert (run.commands[1][:4], run.commands[1][-3:]) == (PIP, ("--", "tiny", "other==2"))
    assert run.timeouts[1] == 77.0
    ((path, authorization),) = asked
    assert path.startswith("/api/kernelspecs")
    assert authorization == f"token {'t' * 64}"


@pytest.mark.parametrize(
    ("stdout", "stderr", "seen"),
    [
        ("Collecting x\n", "WARNING: a\nERROR: No matching x\nERROR: b\nnote\n", "No matching x; b"),
        ("", "one\ntwo\nthree\nfour\n", "two; three; four"),
        ("a\n", "", "a"),
        ("", "", "exit code 1"),
        ("", "ERROR: " + "x" * 100_000, "x" * 1000),
    ],
)
def test_pip_fails(stdout: str, stderr: str, seen: str) -> None:
    run = FakeRun((0, SERVERS, ""), (1, stdout, stderr), (0, "", ""))
    with server() as (where, _), pytest.raises(CommandError) as caught:
        install_packages(where, run, ("x",), timeout=None)
    assert seen in caught.value.message
    assert len(caught.value.message) < 1200
    assert caught.value.exit_code == 1
    assert caught.value.session_id == "one"
    assert caught.value.result is not None
    assert caught.value.result.stderr == stderr
    assert "docs/packages.md" in caught.value.hint


def test_there_is_no_pip() -> None:
    run = FakeRun((0, SERVERS, ""), (1, "", "No module named pip"), (1, "", ""))
    with server() as (where, _), pytest.raises(CommandError, match=f"{SERVERS} has no pip"):
        install_packages(where, run, ("x",), timeout=None)


@pytest.mark.parametrize(("answer", "status"), [(specs(), 200), ([], 200), (None, 500)])
def test_there_is_no_python_kernel(answer: object, status: int) -> None:
    run = FakeRun((0, SERVERS, ""))
    with server(answer, status) as (where, _), pytest.raises(WorkError, match="no kernel of session one"):
        install_packages(where, run, ("x",), timeout=None)
    assert len(run.commands) == 1


def test_the_server_does_not_answer() -> None:
    where = place(engine=FakeEngine(container()))
    with pytest.raises(ServerTimeoutError, match="api/kernelspecs"):
        install_packages(where, FakeRun((0, SERVERS, "")), ("x",), timeout=None)


@pytest.mark.parametrize(
    "requirements",
    [
        (),
        ("",),
        ("  ",),
        ("a", "-rsecret.txt"),
        (" --index-url=http://x",),
        ("a\0b",),
        ("a\udc80",),
        (7,),
        (None,),
        (["a"],),
    ],
)
def test_what_is_no_requirement_is_refused_before_anything_runs(requirements: tuple[Any, ...]) -> None:
    run = FakeRun()
    with pytest.raises(OptionError, match="requirement") as caught:
        install_packages(place(), run, requirements, timeout=None)
    assert caught.value.option == "requirements"
    assert run.commands == []


def test_with_a_gateway_the_image_to_change_is_named() -> None:
    engine = FakeEngine(container(id="g" * 64, image="my-company/gateway:1"))
    for gateway, named in (
        (Gateway(name="gate", url="http://172.17.0.9:8888", container_id="g" * 64), "image my-company/gateway:1"),
        (Gateway(name="gate", url="http://172.17.0.9:8888", container_id="f" * 64), "the gateway gate"),
        (Gateway(name="https://gate.example", url="https://gate.example"), "the gateway https://gate.example"),
    ):
        run = FakeRun()
        with pytest.raises(OptionError, match=named) as caught:
            install_packages(place(gateway=gateway, engine=engine), run, ("x",), timeout=None)
        assert "build kernel-gateway --requirement" in caught.value.hint
        assert run.commands == []


def test_with_kernels_in_containers_their_own_images_are_named() -> None:
    engine = FakeEngine()
    made = add_gateway(engine, "s1", known={"images": {"py": "team/py:1", "torch": "team/torch:2"}})
    gateway = Gateway(name=made.name, url="http://172.17.0.9:8888", container_id=made.id)
    with pytest.raises(OptionError, match=r"own: py of team/py:1, torch of team/torch:2;") as caught:
        install_packages(place(gateway=gateway, engine=engine), FakeRun(), ("x",), timeout=None)
    assert "%pip install" in caught.value.hint
    assert "kernel-gateway" not in str(caught.value)
