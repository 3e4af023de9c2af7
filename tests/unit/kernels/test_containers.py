"""The containers of agents, brokers and kernels, and what a gateway is told of its kernels."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from string import Template
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_launcher import KernelImage, Mount, Volume
from jupyter_launcher.engine.types import BindMount, ContainerConfig, Tmpfs
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.kernels import containers
from jupyter_launcher.spec.kernels.containers import (
    BROKER_DIR,
    agent_config,
    broker_config,
    gateway_environment,
    kernel_config,
)
from jupyter_launcher.spec.kernels.found import FoundKernel
from jupyter_launcher.spec.kernels.labels import KERNEL_NAME
from jupyter_launcher.spec.kernels.options import KernelOptions
from jupyter_launcher.spec.server import read_script
from tests.unit.kernels.brokers import policy_of

START = "5" * 32
FOUND = FoundKernel(
    argv=("/opt/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}"),
    display_name="Python, ours",
    language="python",
    environment={"A": "spec", "B": "spec"},
    python="/usr/bin/python3",
)
IMAGE = KernelImage(
    "team/py:1",
    memory=2**30,
    cpus=1.5,
    shm_size=2**20,
    gpus=("0", "3"),
    environment={"A": "caller", "C": "caller"},
    mounts=(Mount(source="/data", target="/data", read_only=True), Mount(source="v", target="/v", type="volume")),
)


def agent(image: KernelImage = IMAGE, found: FoundKernel = FOUND, **more: Any) -> ContainerConfig:
    options = {
        "pipeline_dir": Path("/pipe"),
        "relabel": None,
        "user": "1234:5678",
        "gateway": "g" * 64,
        "secret": "hush",
        "labels": {"x": "y"},
    }
    return agent_config(more.pop("name", "py"), image, found, **{**options, **more})


def kernel(image: KernelImage = IMAGE, found: FoundKernel = FOUND, **more: Any) -> ContainerConfig:
    options = {
        "pipeline_dir": Path("/pipe"),
        "relabel": None,
        "user": "1234:5678",
        "network": "net",
        "labels": {"x": "y"},
    }
    return kernel_config("py", image, found, **{**options, **more})


def broker(kernels: dict[str, Any] | None = None, **more: Any) -> ContainerConfig:
    options = {
        "socket": "/run/user/1000/docker.sock",
        "volume": "a" * 64,
        "max_kernels": 3,
        "namespace": "unit",
        "gateway_start": START,
        "labels": {"x": "y"},
        "user": "1234:5678",
        "host_users": False,
    }
    return broker_config("gateway:1", {"py": {"Image": "i"}} if kernels is None else kernels, **{**options, **more})


@pytest.mark.parametrize("make", [agent, kernel])
def test_an_image_gets_what_was_asked_for(make: Any) -> None:
    found = make()
    assert (found.image, found.user, found.working_dir) == ("team/py:1", "1234:5678", "/pipeline-dir")
    assert (found.memory, found.cpus, found.shm_size, found.gpus) == (2**30, 1.5, 2**20, ("0", "3"))
    assert found.mounts == (
        BindMount(source="/pipe", target="/pipeline-dir"),
        BindMount(source="/data", target="/data", read_only=True),
        BindMount(source="v", target="/v", type="volume"),
    )
    assert found.labels == {"x": "y", KERNEL_NAME: "py"}
    assert (found.keep_entrypoint, found.capabilities, found.engine_options) == (True, (), {})
    assert found.tmpfs == ()
    assert (found.container_port, dict(found.ports), dict(found.extra_hosts)) == (None, {}, {})
    assert not make(KernelImage("i", entrypoint=False)).keep_entrypoint


@pytest.mark.parametrize("make", [agent, kernel])
@pytest.mark.parametrize(("memory", "shm"), [(None, 2**30), (2**28, 2**27)])
def test_an_image_without_limits_has_the_shared_memory_of_a_session(make: Any, memory: int | None, shm: int) -> None:
    found = make(KernelImage("i", memory=memory))
    assert (found.memory, found.cpus, found.shm_size, found.default_shm_size, found.gpus) == (
        memory,
        None,
        None,
        shm,
        None,
    )


@pytest.mark.parametrize("make", [agent, kernel])
def test_the_pipeline_may_be_a_volume_or_have_labels(make: Any) -> None:
    (first, *_) = make(pipeline_dir=Volume("work")).mounts
    assert (first.source, first.type, first.no_copy) == ("work", "volume", True)
    assert make(relabel="z").mounts[0].relabel == "z"


@pytest.mark.parametrize("make", [agent, kernel])
def test_a_home_that_cannot_be_written_is_one_in_memory(make: Any) -> None:
    closed = FoundKernel(argv=FOUND.argv, display_name="", python="/p", home_is_writable=False)
    found = make(KernelImage("i"), closed)
    (home,) = found.tmpfs
    assert home == Tmpfs(
        target="/run/jupyter-launcher/home", mode="0700", size=2 * 2**30, uid=1234, gid=5678, executable=True
    )
    assert found.environment["HOME"] == home.target
    assert "HOME" not in make(KernelImage("i")).environment
    given = make(KernelImage("i", environment={"HOME": "/mine"}), closed)
    assert (given.environment["HOME"], given.tmpfs) == ("/mine", ())


@pytest.mark.parametrize("make", [agent, kernel])
def test_variables_of_the_caller_win_over_the_engines(make: Any) -> None:
    found = make(
        KernelImage("i", environment={"HTTP_PROXY": "mine"}), proxies=HiddenTexts({"HTTP_PROXY": "p", "NO_PROXY": "n"})
    )
    assert {name: found.environment[name] for name in ("HTTP_PROXY", "NO_PROXY")} == {
        "HTTP_PROXY": "mine",
        "NO_PROXY": "n",
    }


def test_an_agent_is_in_the_network_of_its_gateway() -> None:
    found = agent()
    assert found.network == f"container:{'g' * 64}"
    assert found.entrypoint == ("/usr/bin/python3", "-I", "-S", "-c", read_script("kernels/agent.py"))
    policy = json.loads(found.environment["JUPYTER_LAUNCHER_AGENT"])
    assert policy == {
        "address": f"jupyter-launcher-agent/py/{hashlib.sha256(b'hush').hexdigest()[:32]}",
        "name": "py",
        "argv": list(FOUND.argv),
        "env": {"B": "spec"},
        "secret": "hush",
    }
    assert (found.environment["A"], found.environment["C"]) == ("caller", "caller")
    assert "hush" not in repr(found)
    body = found.to_docker()
    assert body["HostConfig"]["NetworkMode"] == found.network
    # The engine refuses each of these in the network of another container.
    assert not {"Hostname", "ExposedPorts"} & set(body)
    assert body["HostConfig"]["ExtraHosts"] == []
    assert "PortBindings" not in body["HostConfig"]


def test_an_agents_address_fits_into_a_socket() -> None:
    name = "n" * 48
    policy = json.loads(
        agent_config(
            name,
            IMAGE,
            FOUND,
            pipeline_dir=Path("/pipe"),
            relabel=None,
            user="1:1",
            gateway="g",
            secret="s",
            labels={},
        ).environment["JUPYTER_LAUNCHER_AGENT"]
    )
    assert len(policy["address"]) + 1 <= 108


def test_a_kernel_goes_into_its_folder() -> None:
    found = kernel()
    file = "/run/jupyter-launcher-kernel/connection.json"
    argv = ("/opt/bin/python", "-m", "ipykernel_launcher", "-f", file)
    assert found.entrypoint == ("sh", "-c", 'cd -- "$0" 2>/dev/null; exec "$@"', "{folder}", *argv)
    assert found.network == "net"
    assert found.environment == {"A": "caller", "B": "spec", "C": "caller", "TINI_KILL_PROCESS_GROUP": "1"}
    body = found.to_docker()
    assert body["Cmd"] == list(found.entrypoint)
    assert "Entrypoint" not in body
    assert kernel(KernelImage("i", entrypoint=False)).to_docker()["Entrypoint"] == list(found.entrypoint)


def run_kernel(found: ContainerConfig, folder: str, **environment: str) -> str:
    assert found.entrypoint is not None
    argv = [folder if word == "{folder}" else word for word in found.entrypoint]
    environment = {"PATH": os.environ["PATH"], **found.environment, **environment}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True, cwd="/usr").stdout


def test_a_folder_that_is_not_there_is_the_working_directory(tmp_path: Path) -> None:
    show = FoundKernel(argv=("pwd",), display_name="")
    odd = tmp_path / "-a 'b\"$(c)\n"
    odd.mkdir()
    assert run_kernel(kernel(found=show), str(odd)) == f"{odd}\n"
    assert run_kernel(kernel(found=show), str(tmp_path / "none")) == "/usr\n"


@pytest.mark.parametrize(
    "value",
    [
        "/opt/bin:${PATH}",
        "$PATH",
        "${NOT_SET}:$NOT_SET_EITHER",
        "$$HOME is $$",
        "a 'b\" `c` $(touch x) \\ ${GIVEN}",
        "${EMPTY}|$GIVEN|${GIVEN}x",
        "$ {GIVEN} ${} ${1} $1 $",
        "${GIVEN:-x}",
        "a\nb$GIVEN\n",
    ],
)
def test_a_kernel_specs_variables_are_read_as_jupyter_client_reads_them(value: str) -> None:
    found = FoundKernel(
        argv=("sh", "-c", 'printf %s "$WANTED"'), display_name="", environment={"WANTED": value, "PLAIN": "1"}
    )
    known = {"PATH": os.environ["PATH"], "GIVEN": "a 'b\" $PATH", "EMPTY": ""}
    assert run_kernel(kernel(KernelImage("i"), found), "/", **known) == Template(value).safe_substitute(known)


@given(value=st.text(alphabet="$ {}AB_1'\"\\`\n-", max_size=20))
def test_any_text_of_a_kernel_spec_is_read_as_jupyter_client_reads_it(value: str) -> None:
    found = FoundKernel(argv=("sh", "-c", 'printf %s "$WANTED"'), display_name="", environment={"WANTED": value})
    known = {"A": "a", "AB": "$A", "B_1": ""}
    known["PATH"] = os.environ["PATH"]
    assert run_kernel(kernel(KernelImage("i"), found), "/", **known) == Template(value).safe_substitute(known)


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_variables_that_are_none_to_a_shell_reach_the_kernel(shell: str) -> None:
    """Such as those of Spark; dash, which is the `sh` of Debian, drops them."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    given = {"spark.master": "local", "\u00c9": " a\n", "-x": "$HOME", "PLAIN": "1"}
    image = KernelImage("i", environment=given)
    spec = FoundKernel(argv=("env",), display_name="", environment={"own.spec": "2", "spark.master": "spec"})
    found = kernel(image, spec)
    assert found.entrypoint is not None
    printed = run_kernel(replace(found, entrypoint=(shell, *found.entrypoint[1:])), "/")
    assert {"spark.master=local", "\u00c9= a", "-x=$HOME", "PLAIN=1", "own.spec=2"} <= set(printed.splitlines())


def test_a_variable_that_no_shell_has_is_left_out() -> None:
    found = FoundKernel(argv=("sh", "-c", 'printf %s "$WANTED"'), display_name="", environment={"A-B; id #": "$PATH"})
    assert run_kernel(kernel(KernelImage("i"), found), "/", WANTED="yes") == "yes"


def test_a_broker_has_the_engine_and_nothing_else() -> None:
    found = broker()
    assert found.entrypoint == ("python3", "-I", "-S", "-c", read_script("kernels/broker.py"))
    assert (found.image, found.user, found.working_dir, found.network) == ("gateway:1", "0:0", "/", "none")
    assert found.mounts == (
        BindMount(source="/run/user/1000/docker.sock", target="/run/jupyter-launcher-engine.sock"),
        BindMount(source="a" * 64, target=BROKER_DIR, type="volume"),
    )
    assert found.read_only
    assert (found.capabilities, found.tmpfs, found.container_port) == ((), (), None)
    assert found.engine_options == {"SecurityOpt": ["no-new-privileges", "label=disable"]}
    body = found.to_docker()
    assert (body["HostConfig"]["CapDrop"], body["HostConfig"]["CapAdd"]) == (["ALL"], [])
    assert body["HostConfig"]["ReadonlyRootfs"] is True
    # The text is an argument, and Linux takes 128 KiB for one.
    assert len(found.entrypoint[-1].encode()) < 100_000


def test_a_broker_knows_its_policy() -> None:
    bodies = {"py": {"Image": "i", "Env": ["A=ä"]}, "r": {"Image": "r"}}
    assert policy_of(broker(bodies)) == {
        "engine": "/run/jupyter-launcher-engine.sock",
        "socket": f"{BROKER_DIR}/broker.sock",
        "namespace": "unit",
        "gateway_start": START,
        "max_kernels": 3,
        "user": "1234:5678",
        "kernels": bodies,
    }


def test_a_long_policy_is_in_pieces() -> None:
    bodies = {str(number): {"Env": ["A=" + "x" * 64_000 + "\u2028"]} for number in range(16)}
    found = broker(bodies)
    assert all(len(f"{name}={value}".encode()) < 2**17 for name, value in found.environment.items())
    assert policy_of(found)["kernels"] == bodies


def test_a_broker_under_remapped_users_has_those_of_the_host() -> None:
    found = broker(host_users=True)
    assert found.engine_options["UsernsMode"] == "host"
    assert found.capabilities == ("DAC_OVERRIDE",)


def options(isolation: Any = "environment", **more: Any) -> KernelOptions:
    given: dict[str, Any] = {"images": {"py": IMAGE, "r": KernelImage("r:1")}, "max_kernels": 4, "idle": None}
    return KernelOptions(**{**given, **more, "isolation": isolation})


FOUNDS = {
    "py": FoundKernel(
        argv=FOUND.argv,
        display_name="Python, ours",
        language="python",
        interrupt_mode="message",
        environment={"A": "${PATH}"},
        metadata={"debugger": True},
        encrypts=True,
        logos={"logo-64x64.png": b"\x89PNG"},
        python="/p",
    ),
    "r": FoundKernel(argv=("R", "{connection_file}"), display_name="r"),
}


def test_a_gateway_is_told_of_its_agents() -> None:
    told = gateway_environment(options(), FOUNDS, {"py": "one", "r": "two"})
    assert set(told) == {"JUPYTER_LAUNCHER_MAX_KERNELS", "JUPYTER_LAUNCHER_KERNEL_0", "JUPYTER_LAUNCHER_KERNEL_1"}
    assert told["JUPYTER_LAUNCHER_MAX_KERNELS"] == "4"
    assert json.loads(told["JUPYTER_LAUNCHER_KERNEL_0"]) == {
        "name": "py",
        "address": f"@jupyter-launcher-agent/py/{hashlib.sha256(b'one').hexdigest()[:32]}",
        "secret": "one",
        "argv": list(FOUND.argv),
        "display_name": "Python, ours",
        "language": "python",
        "interrupt_mode": "message",
        "env": {"A": "${PATH}"},
        "metadata": {"debugger": True},
        "encrypts": True,
        "logos": {"logo-64x64.png": base64.b64encode(b"\x89PNG").decode()},
    }
    # The address that the agent itself has.
    policy = json.loads(agent(secret="one").environment["JUPYTER_LAUNCHER_AGENT"])
    assert json.loads(told["JUPYTER_LAUNCHER_KERNEL_0"])["address"] == f"@{policy['address']}"


def test_an_agents_address_fits_and_is_told_to_nobody_else() -> None:
    """What another image runs before its agent would take the address, and be given the agent's secret."""
    found = [
        json.loads(agent(name="n" * 48, secret=secret).environment["JUPYTER_LAUNCHER_AGENT"])["address"]
        for secret in ("a", "b")
    ]
    assert found[0] != found[1]
    assert max(map(len, found)) < 107  # the name of a socket, and a NUL before it


def test_a_gateway_is_told_of_its_broker() -> None:
    told = gateway_environment(options("kernel", idle=60), FOUNDS, {})
    assert told["JUPYTER_LAUNCHER_KERNEL_IDLE"] == "60"
    kernels = [json.loads(told[f"JUPYTER_LAUNCHER_KERNEL_{number}"]) for number in range(2)]
    assert [item["name"] for item in kernels] == ["py", "r"]
    assert {item["address"] for item in kernels} == {policy_of(broker())["socket"]}
    assert not any("secret" in item for item in kernels)


@pytest.mark.parametrize(
    ("logo", "value", "left"), [(16_000, 60_000, {"logos", "env"}), (90_000, 60_000, {"env"}), (90_000, 130_000, set())]
)
def test_what_does_not_fit_is_left_out(logo: int, value: int, left: set[str]) -> None:
    found = FoundKernel(argv=("R",), display_name="r", environment={"A": "x" * value}, logos={"a.png": b"x" * logo})
    told = gateway_environment(options(images={"r": KernelImage("r:1")}), {"r": found}, {"r": "s"})
    text = told["JUPYTER_LAUNCHER_KERNEL_0"]
    assert len(text.encode()) <= 120_000
    assert set(json.loads(text)) & {"logos", "env"} == left


def test_the_agents_script_is_an_argument() -> None:
    assert len(read_script("kernels/agent.py").encode()) < 100_000
    assert containers.BROKER_DIR == "/run/jupyter-launcher-broker"
