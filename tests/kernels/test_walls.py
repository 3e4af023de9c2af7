"""Who reaches what: kernels' ports and messages, the engine's socket, and the limits of a kernel's container."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_launcher import DEFAULT_IMAGE, KernelImage, RunningGateway
from tests.containers import log_of, output_of, remaps_users, user_inside
from tests.kernels.client import Kernels
from tests.kernels.conftest import ENGINE_SOCKET, RunGateway, containers_of, parts_of

ENGINE = Path(ENGINE_SOCKET or os.environ.get("DOCKER_HOST", "/var/run/docker.sock").split("://")[-1])
INFO = "import json, ipykernel; print(json.dumps(ipykernel.get_connection_info(unpack=True), default=str))"
PORTS = ("shell_port", "iopub_port", "stdin_port", "hb_port", "control_port")
# Run where a kernel's IP and ports are the arguments: which of them take a connection.
KNOCK = """
import socket, sys
for port in sys.argv[2:]:
    try:
        socket.create_connection((sys.argv[1], int(port)), timeout=3).close()
    except OSError:
        continue
    print(port)
"""
# A plain subscriber of a kernel's output: prints what it reads in some seconds.
LISTEN = """
import sys, time, zmq
subscriber = zmq.Context().socket(zmq.SUB)
subscriber.setsockopt(zmq.SUBSCRIBE, b"")
subscriber.connect(f"tcp://{sys.argv[1]}:{sys.argv[2]}")
subscriber.RCVTIMEO = 4000
end = time.monotonic() + 8
try:
    while time.monotonic() < end:
        print(b"".join(subscriber.recv_multipart()))
except zmq.Again:
    pass
"""
# Every socket of a container's file systems, by device and inode. A mount point is looked at by itself, since find
# takes it for the file that is below the mount.
SOCKETS = """
find / -path /proc -prune -o -path /sys -prune -o -type s -exec stat -c %d:%i {} + 2>/dev/null
cut -d' ' -f5 /proc/self/mountinfo | while read -r path; do
  if [ -S "$path" ]; then stat -c %d:%i "$path"; fi
done
"""
# Run by a kernel: what each agent that can be seen answers to a request for a kernel.
USE_OTHER_AGENTS = """
import json, socket
found = {line.split()[-1][1:] for line in open("/proc/net/unix") if "@jupyter-launcher-agent/" in line}
answers = {}
for name in sorted(found):
    with socket.socket(socket.AF_UNIX) as agent:
        agent.settimeout(10)
        agent.connect("\\0" + name)
        connection = {"key": "k", "signature_scheme": "hmac-sha256", "kernel_name": "x"}
        request = {"do": "start", "kernel": "12345678-1234-1234-1234-123456789abc", "name": name.split("/")[1]}
        agent.sendall(json.dumps({**request, "env": {}, "folder": None, "connection": connection}).encode() + b"\\n")
        answers[name] = agent.recv(65536).decode()
print(json.dumps(answers))
"""
# The ENTRYPOINT of an image, before an agent: takes the gateway's port, and prints what comes there.
TAKE_THE_PORT = """
import os, socket, sys
if "JUPYTER_LAUNCHER_AGENT" in os.environ:
    with socket.create_server(("0.0.0.0", 8888)) as taken:
        print("taken", flush=True)
        taken.settimeout(4)
        try:
            print(taken.accept()[0].recv(65536), flush=True)
        except TimeoutError:
            print("nobody came", flush=True)
os.execvp(sys.argv[1], sys.argv[1:])
"""
ENVIRONMENTS = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
ARGUMENTS = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
STATUS = "print([line.split()[1] for line in open('/proc/self/status') if line.startswith(('CapBnd', 'NoNewPr'))])"
SECRETS = "import time\nfor number in range(60): print('a secret', flush=True); time.sleep(0.2)"


def address_of(container: Any) -> str:
    """The IP of a container that is on one network."""
    container.reload()
    (network,) = container.attrs["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def gateway_of(client: Any, namespace: str) -> Any:
    (found,) = client.containers.list(
        filters={"label": f"jupyter-launcher.gateway-of={namespace}"}, ignore_removed=True
    )
    return found


@pytest.fixture
def gateway(run_gateway: RunGateway, isolation: Any, python_311: str) -> RunningGateway:
    """With one kernel that knows encryption, and one that does not."""
    return run_gateway({"py": DEFAULT_IMAGE, "py311": python_311}, isolation=isolation)


@pytest.fixture
def kernels(gateway: RunningGateway) -> Kernels:
    return Kernels(gateway)


def read_by_others(client: Any, kernels: Kernels, kernel: str, ip: str) -> str:
    """What a container beside reads of a kernel's output by a plain socket, while the kernel prints."""
    port = json.loads(kernels.printed(kernel, INFO))["iopub_port"]
    with kernels.connect(kernel) as channels:
        request = channels.execute(SECRETS)
        read = output_of(client, DEFAULT_IMAGE, ["python3", "-c", LISTEN, ip, str(port)])
        channels.reply(request)
    return read


@pytest.mark.parametrize("isolation", ["kernel"])
@pytest.mark.parametrize("name", ["py", "py311"])
def test_nobody_beside_reads_an_encrypted_kernels_output(
    kernels: Kernels, client: Any, namespace: str, name: str
) -> None:
    """Of one that knows no encryption they do, which proves that the listener listens."""
    kernel = kernels.start(name)
    (container,) = parts_of(client, namespace, "kernel")
    read = read_by_others(client, kernels, kernel, address_of(container))
    assert ("a secret" in read) == (name == "py311")


@pytest.mark.parametrize("isolation", ["environment"])
@pytest.mark.parametrize("name", ["py", "py311"])
def test_nobody_beside_reaches_the_ports_of_a_kernel_in_an_environment(
    kernels: Kernels, client: Any, namespace: str, name: str
) -> None:
    info = json.loads(kernels.printed(kernels.start(name), INFO))
    ports = [str(info[port]) for port in PORTS]
    ip = address_of(gateway_of(client, namespace))
    assert output_of(client, DEFAULT_IMAGE, ["python3", "-c", KNOCK, ip, *ports, "8888"]).split() == ["8888"]
    host: dict[str, str] = {"network_mode": "host", **({"userns_mode": "host"} if remaps_users(client) else {})}
    for port in ports:  # from here neither
        answer = output_of(client, DEFAULT_IMAGE, ["python3", "-c", KNOCK, ip, port], **host)
        assert answer == ""


def test_a_kernel_reaches_its_gateway_with_the_token_alone(
    kernels: Kernels, gateway: RunningGateway, client: Any, namespace: str
) -> None:
    kernel = kernels.start("py")
    url = f"http://{address_of(gateway_of(client, namespace))}:8888/api/kernels"
    ask = (
        "import urllib.request, urllib.error\ntry: print(urllib.request.urlopen(%r).status)\n"
        "except urllib.error.HTTPError as error: print(error.code)"
    )
    assert kernels.printed(kernel, ask % url) == "401"
    assert requests.get(f"{gateway.url}api/kernels", timeout=30).status_code == 401
    seen = kernels.printed(kernel, "import os, json; print(json.dumps(dict(os.environ)))")
    assert gateway.token not in seen


def test_a_kernel_sees_no_process_of_another_environment(kernels: Kernels) -> None:
    """Those of one environment see each other, as the documentation says; never those of another image."""
    read = f"import subprocess; print(subprocess.getoutput({ENVIRONMENTS!r}))"
    first = kernels.start("py", env={"KERNEL_MARK": "of-the-first"})
    second = kernels.start("py311", env={"KERNEL_MARK": "of-the-second"})
    assert "of-the-first" in kernels.printed(first, read)
    assert "of-the-second" not in kernels.printed(first, read)
    assert "of-the-first" not in kernels.printed(second, read)


@pytest.mark.parametrize("isolation", ["environment"])
def test_a_kernel_starts_nothing_in_another_images_container(kernels: Kernels) -> None:
    """The agents of a gateway are in one network, and so are their sockets; each wants a secret of its own."""
    answers = json.loads(kernels.printed(kernels.start("py"), USE_OTHER_AGENTS))
    assert sorted(name.split("/")[1] for name in answers) == ["py", "py311"]
    for name, told in answers.items():
        assert '"error"' in told, name
        assert '"ports"' not in told, name
    assert len(kernels.ids()) == 1


@pytest.fixture
def port_taker(client: Any, namespace: str) -> Iterator[str]:
    """An image whose ENTRYPOINT is TAKE_THE_PORT."""
    container = client.containers.create(DEFAULT_IMAGE)
    entrypoint = json.dumps(["python3", "-c", TAKE_THE_PORT])
    try:
        image = container.commit("jupyter-launcher/test-kernel", namespace, changes=f"ENTRYPOINT {entrypoint}")
    finally:
        container.remove()
    yield image.tags[0]
    client.images.remove(image.tags[0])


def test_what_an_image_runs_before_its_agent_gets_no_token(
    port_taker: str, run_gateway: RunGateway, client: Any, namespace: str
) -> None:
    """It is in the gateway's network before the gateway listens."""
    kernels = Kernels(run_gateway({"taker": port_taker, "py": DEFAULT_IMAGE}))
    logs = [log_of(item) for item in parts_of(client, namespace, "agent")]
    assert sorted(log.split("\n")[:2] for log in logs) == [[""], ["taken", "nobody came"]]
    assert kernels.printed(kernels.start("py"), "print(1)") == "1"


def sockets_in(container: Any) -> set[str]:
    """Of all sockets that root, who has no powers there, and the container's own user find in it."""
    found: set[str] = set()
    for user in ("0:0", container.attrs["Config"]["User"]):
        code, output = container.exec_run(["sh", "-c", SOCKETS], user=user)
        assert code == 0, output
        found |= set(output.decode().split())
    return found


def engine_sockets() -> set[str]:
    status = ENGINE.stat()
    return {f"{status.st_dev}:{status.st_ino}"}


def test_the_engines_socket_is_in_the_broker_alone(
    kernels: Kernels, client: Any, namespace: str, isolation: Any
) -> None:
    """By device and inode, wherever it is mounted; and the broker's own is in it and in the gateway alone."""
    for name in ("py", "py311"):
        kernels.start(name)
    containers = containers_of(client, namespace)
    sockets = {item.name: sockets_in(item) for item in containers}
    holders = sorted(name for name, found in sockets.items() if found & engine_sockets())
    brokers = [item.name for item in parts_of(client, namespace, "broker")]
    assert holders == brokers
    assert len(brokers) == (isolation == "kernel")
    assert len(containers) == (3 if isolation == "environment" else 4)
    if brokers:
        of_broker = sockets[brokers[0]] - engine_sockets()
        assert of_broker, "its own socket was not seen"
        holders = sorted(name for name, found in sockets.items() if found & of_broker)
        assert holders == sorted([brokers[0], gateway_of(client, namespace).name])


def test_the_containers_have_no_powers(
    kernels: Kernels, client: Any, namespace: str, isolation: Any, pipeline_dir: Path
) -> None:
    owner = user_inside(client, pipeline_dir)
    for name in ("py", "py311"):
        kernels.start(name)
    for container in containers_of(client, namespace):
        host = container.attrs["HostConfig"]
        is_broker = container.name.startswith("kernel-broker.")
        assert host["Privileged"] is False, container.name
        assert {item.removeprefix("CAP_") for item in host["CapDrop"]} >= {"ALL"} or len(host["CapDrop"]) > 10
        powers = ["DAC_OVERRIDE"] if is_broker and remaps_users(client) else []
        assert [item.removeprefix("CAP_") for item in host["CapAdd"] or ()] == powers, container.name
        assert any(item.startswith("no-new-privileges") for item in host["SecurityOpt"]), container.name
        assert container.attrs["Config"]["User"] == ("0:0" if is_broker else owner), container.name
        if is_broker:
            assert host["NetworkMode"] == "none"
            assert host["ReadonlyRootfs"] is True
        elif container.name.startswith("kernel-agent."):
            assert host["NetworkMode"] == f"container:{gateway_of(client, namespace).id}"
    (kernel, *_) = kernels.ids()
    assert kernels.printed(kernel, STATUS) == "['0000000000000000', '1']"


def test_a_kernels_key_is_nowhere_to_be_read(
    kernels: Kernels, client: Any, namespace: str, gateway: RunningGateway
) -> None:
    """Who has it can send code to the kernel."""
    kernel = kernels.start("py")
    key = json.loads(kernels.printed(kernel, INFO))["key"]
    assert len(key) > 20
    places = {}
    for container in containers_of(client, namespace):
        container.reload()
        places[f"inspect of {container.name}"] = json.dumps(container.attrs)
        places[f"log of {container.name}"] = log_of(container)
        arguments = container.exec_run(["sh", "-c", ARGUMENTS]).output.decode(errors="replace")
        assert container.status != "running" or "/proc/[0-9]*/cmdline" in arguments  # it shows this look too
        places[f"argv in {container.name}"] = arguments
        environment = container.exec_run(["sh", "-c", ENVIRONMENTS]).output.decode(errors="replace")
        places[f"environment in {container.name}"] = environment
    assert [place for place, text in places.items() if key in text] == []
    del places[f"environment in {gateway.name}"]  # its own process is given it so
    assert [place for place, text in places.items() if gateway.token in text] == []


def test_limits_hold(run_gateway: RunGateway, client: Any, namespace: str, isolation: Any, launcher: Any) -> None:
    traits = launcher._engine.traits
    if traits.limits_memory is False or traits.limits_cpus is False:
        pytest.skip("the engine does not limit memory and cpus")
    image = KernelImage(DEFAULT_IMAGE, memory="300m", cpus=0.5, shm_size="32m")
    kernels = Kernels(run_gateway({"small": image, "py": DEFAULT_IMAGE}, isolation=isolation))
    kernel = kernels.start("small")
    kind = "agent" if isolation == "environment" else "kernel"
    held = [item.attrs["HostConfig"] for item in parts_of(client, namespace, kind)]
    (host,) = [item for item in held if item["Memory"] == 300 * 2**20]
    assert host["NanoCpus"] == 500_000_000 or (host["CpuQuota"], host["CpuPeriod"]) == (50_000, 100_000)
    look = (
        "import os, pathlib\nshm = os.statvfs('/dev/shm'); print(shm.f_blocks * shm.f_frsize)\n"
        "for name in ('memory/memory.limit_in_bytes', 'memory.max'):\n"
        " path = pathlib.Path('/sys/fs/cgroup', name)\n if path.exists(): print(path.read_text().strip())"
    )
    assert kernels.printed(kernel, look).split() == [str(32 * 2**20), str(300 * 2**20)]
    reply = kernels.run(kernels.start("py"), "x = bytearray(400 * 2**20); print(len(x))")
    assert reply.text.strip() == str(400 * 2**20)
