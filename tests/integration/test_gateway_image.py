"""The image of a gateway of ours: how it starts kernels, and whom it answers."""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket

from jupyter_launcher import DEFAULT_GATEWAY_IMAGE, Launcher, RunningGateway, Session
from jupyter_launcher.engine.images import context_dir
from jupyter_launcher.waiting import Deadline
from tests.containers import eventually, output_of, owned
from tests.integration.test_session import authorized

TOKEN = "only-who-knows-it"  # noqa: S105 - made up
# Run in the gateway's container, with a kernel's id: whether all its ports take connections.
LISTENS = """
import json, pathlib, socket, sys
(file,) = pathlib.Path("/home/jovyan/.local/share/jupyter/runtime").glob(f"kernel-{sys.argv[1]}.json")
known = json.loads(file.read_text())
for name in ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port"):
    socket.create_connection((known["ip"], known[name]), timeout=5).close()
"""
SENT_WITHOUT_A_TOKEN = (
    ("GET", "api", None),
    ("GET", "api/kernels", None),
    ("GET", "api/kernelspecs", None),
    ("GET", "api/kernels?token=no", None),
    ("GET", "api/kernels?token=%ff", None),
    ("GET", "api/sessions", None),
    ("GET", "kernelspecs/python3/logo-64x64.png", None),
    ("GET", f"api/kernels/{uuid.UUID(int=1)}/channels", None),
    ("POST", "api/kernels", '{"name": "no such kernel"}'),
    ("POST", "api/kernels", '{"env": {"KERNEL_X": 1}}'),
    ("POST", "api/kernels", "{"),
    ("POST", "api/sessions", "5"),
    ("POST", f"api/kernels/{uuid.UUID(int=1)}/interrupt", None),
    ("DELETE", f"api/kernels/{uuid.UUID(int=1)}", None),
)


@dataclass(frozen=True)
class Gateway:
    """A container of the image, as a plain ``docker run`` makes it."""

    container: Any
    url: str

    def ask(self, method: str, path: str, body: object = None, token: str = TOKEN) -> requests.Response:
        headers = {"Authorization": f"token {token}"} if token else {}
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        return requests.request(method, f"{self.url}/{path}", data=data, headers=headers, timeout=60)

    def start_kernel(self, **body: Any) -> str:
        answer = self.ask("POST", "api/kernels", {"name": "python3", **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])


@pytest.fixture(scope="module")
def own_gateway(client: Any, launcher: Launcher, reach: Callable[[str], str]) -> Iterator[Gateway]:
    launcher.ensure_image(DEFAULT_GATEWAY_IMAGE)
    container = client.containers.run(
        DEFAULT_GATEWAY_IMAGE,
        detach=True,
        init=True,
        environment={"KG_AUTH_TOKEN": TOKEN, "EG_AUTH_TOKEN": TOKEN, "SECRET": TOKEN},
    )
    try:
        made = Gateway(container, reach(container.id).rstrip("/"))

        def answers() -> bool:
            with contextlib.suppress(requests.ConnectionError):
                return made.ask("GET", "api/kernelspecs").ok
            return False

        assert eventually(answers), container.logs().decode()
        yield made
    finally:
        container.remove(force=True, v=True)


def look_at_kernel(container: Any, kernel: str) -> tuple[dict[str, str], str]:
    """A kernel's environment and folder, found by its id as the launcher finds it."""
    script = """
    file=$(grep -lzxF "KERNEL_ID=$1" /proc/[0-9]*/environ 2>/dev/null | head -n 1)
    readlink "${file%environ}cwd" && tr '\\0' '\\n' <"$file"
    """
    code, output = container.exec_run(["sh", "-c", script, "sh", kernel])
    assert code == 0, output
    folder, *lines = output.decode().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line), folder


def test_requests_at_the_same_time_keep_their_environments_apart(own_gateway: Gateway) -> None:
    def start(number: int) -> tuple[int, str]:
        return number, own_gateway.start_kernel(env={"KERNEL_NUMBER": str(number), "LD_PRELOAD": "x"})

    with ThreadPoolExecutor(6) as pool:
        started = list(pool.map(start, range(6)))
    without = own_gateway.start_kernel()
    for number, kernel in started:
        environment, _ = look_at_kernel(own_gateway.container, kernel)
        assert environment["KERNEL_NUMBER"] == str(number)
        assert "LD_PRELOAD" not in environment
    environment, _ = look_at_kernel(own_gateway.container, without)
    assert "KERNEL_NUMBER" not in environment


def test_a_kernel_of_a_request_without_an_environment_is_no_sessions(
    start: Callable[..., Session],
    jupyter_gateway: RunningGateway,
    gateway_kernels: Callable[[], set[str]],
    reach: Callable[[str], str],
) -> None:
    session = start(gateway=jupyter_gateway)

    def start_one(_: int) -> str:
        body = {"name": "python3"}
        answer = requests.post(f"{session.url}api/kernels", json=body, headers=authorized(session), timeout=60)
        return str(answer.json()["id"])

    with ThreadPoolExecutor(4) as pool:
        ours = set(pool.map(start_one, range(4)))
    url = f"{reach(jupyter_gateway.name)}api/kernels"
    headers = {"Authorization": f"token {jupyter_gateway.token}"}
    foreign = str(requests.post(url, json={"name": "python3"}, headers=headers, timeout=60).json()["id"])
    try:
        assert set(session.stop().kernels) == ours
        assert foreign in gateway_kernels()
    finally:
        requests.delete(f"{url}/{foreign}", headers=headers, timeout=60)


def test_a_kernel_runs_in_the_folder_of_its_notebook(
    start: Callable[..., Session], client: Any, gateway: str, pipeline_dir: Path
) -> None:
    (pipeline_dir / "sub").mkdir()
    owned(pipeline_dir / "sub")
    session = start(gateway=gateway)
    body = {"path": "sub/a.ipynb", "name": "a", "type": "notebook", "kernel": {"name": "python3"}}
    made = requests.post(f"{session.url}api/sessions", json=body, headers=authorized(session), timeout=60)
    _, folder = look_at_kernel(client.containers.get(gateway), made.json()["kernel"]["id"])
    assert folder == "/pipeline-dir/sub"


@pytest.mark.parametrize("wanted", ["/no/such/folder", "tmp", "", "/etc/passwd"])
def test_a_folder_that_is_none_is_not_taken(own_gateway: Gateway, wanted: str) -> None:
    kernel = own_gateway.start_kernel(env={"KERNEL_WORKING_DIR": wanted})
    assert look_at_kernel(own_gateway.container, kernel)[1] == "/pipeline-dir"


@pytest.mark.parametrize("body", [{}, {"env": {}}])
def test_kernels_do_not_inherit_the_token(own_gateway: Gateway, body: Mapping[str, Any]) -> None:
    environment, folder = look_at_kernel(own_gateway.container, own_gateway.start_kernel(**body))
    assert {"PATH", "HOME", "USER", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"} <= set(environment)
    assert not {"KG_AUTH_TOKEN", "EG_AUTH_TOKEN"} & set(environment)
    assert ("SECRET" in environment) == (not body)
    assert folder == "/pipeline-dir"


@pytest.mark.parametrize(("method", "path", "body"), SENT_WITHOUT_A_TOKEN)
def test_who_has_no_token_learns_nothing(own_gateway: Gateway, method: str, path: str, body: str | None) -> None:
    before = own_gateway.ask("GET", "api/kernels").json()
    answer = own_gateway.ask(method, path, body, token="")
    assert answer.status_code in {400, 401}
    assert "Traceback" not in answer.text
    assert "site-packages" not in answer.text
    assert [kernel["id"] for kernel in own_gateway.ask("GET", "api/kernels").json()] == [item["id"] for item in before]


def test_a_start_ends_when_the_kernel_listens(own_gateway: Gateway) -> None:
    for _ in range(3):
        kernel = own_gateway.start_kernel()
        code, output = own_gateway.container.exec_run(["python3", "-c", LISTENS, kernel])
        assert code == 0, output.decode()


# Run in a container of the image: kernels that are none, and how long their starts take.
NO_KERNELS = """
import asyncio, json, os, pathlib, time
from jupyter_client.manager import AsyncKernelManager
from jupyter_launcher_kernels import provisioner
from jupyter_client.provisioning import KernelProvisionerFactory

provisioner._PATIENCE = 0.5
KernelProvisionerFactory.instance(default_provisioner_name="jupyter-launcher")
os.environ["JUPYTER_PATH"] = "/tmp/jupyter"

async def start(name, argv, **options):
    folder = pathlib.Path("/tmp/jupyter/kernels", name)
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": name, "language": "x"}))
    manager = AsyncKernelManager(kernel_name=name, **options)
    begin = time.monotonic()
    await manager.start_kernel()
    took, alive = time.monotonic() - begin, await manager.is_alive()
    await manager.shutdown_kernel(now=True)
    print(name, took >= 0.5, took < 5, alive)

async def main():
    await start("silent", ["sleep", "100"])
    await start("ended", ["false"])
    await start("files", ["sleep", "100"], transport="ipc")

asyncio.run(main())
"""


def test_kernels_that_never_listen_do_not_hold_up_a_start(client: Any) -> None:
    output = output_of(client, DEFAULT_GATEWAY_IMAGE, ["python3", "-c", NO_KERNELS])
    assert output.splitlines() == ["silent True True True", "ended False True False", "files False True True"]


# Run in a container of the image: the identities of two connections with one session id.
IDENTITIES = """
from types import SimpleNamespace
from jupyter_launcher_kernels.connection import WebsocketConnection

def identities():
    seen = []
    connect = lambda identity: seen.append(identity) or SimpleNamespace()
    names = ("shell", "control", "stdin", "iopub")
    manager = SimpleNamespace(**{f"connect_{name}": connect for name in names})
    connection = SimpleNamespace(kernel_manager=manager, session=SimpleNamespace(bsession=b"one"), channels={})
    WebsocketConnection.create_stream(connection)
    print(sorted(connection.channels), len(set(seen)), all(s.channel == n for n, s in connection.channels.items()))
    return seen

print(set(identities()) & set(identities()))
"""


def test_each_websocket_has_an_identity_of_its_own(client: Any) -> None:
    output = output_of(client, DEFAULT_GATEWAY_IMAGE, ["python3", "-c", IDENTITIES])
    one = "['control', 'iopub', 'shell', 'stdin'] 1 True"
    assert output.splitlines() == [one, one, "set()"]


# Run in a container of the image: what a connection does when its websocket is open.
OPENED = """
from jupyter_launcher_kernels.connection import WebsocketConnection, ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

class Handler(KernelWebsocketHandler):
    def __init__(self): pass
    def set_nodelay(self, value): print("nodelay", value)

ZMQChannelsWebsocketConnection.connect = lambda self: "connected"
connection = WebsocketConnection.__new__(WebsocketConnection)
connection.set_trait("websocket_handler", Handler())
print(connection.connect())
"""


def test_small_messages_are_sent_at_once(client: Any) -> None:
    output = output_of(client, DEFAULT_GATEWAY_IMAGE, ["python3", "-c", OPENED])
    assert output.splitlines() == ["nodelay True", "connected"]


def test_a_page_that_gives_up_its_first_websocket_gets_its_answer_by_the_second(
    start: Callable[..., Session], gateway: str
) -> None:
    session = start(gateway=gateway)
    header = {"msg_id": "m1", "msg_type": "kernel_info_request", "username": "", "session": "s1", "version": "5.3"}
    request = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": {}}
    for number in range(5):
        answer = requests.post(f"{session.url}api/kernels", json={}, headers=authorized(session), timeout=60)
        kernel = answer.json()["id"]
        url = f"{session.url.replace('http', 'ws', 1)}api/kernels/{kernel}/channels?session_id=s{number}"
        with pytest.raises(websocket.WebSocketException):  # as a browser: the server chose none of its subprotocols
            websocket.create_connection(
                url, timeout=20, header=authorized(session), subprotocols=["v1.kernel.websocket.jupyter.org"]
            )
        connected = websocket.create_connection(url, timeout=20, header=authorized(session))
        with contextlib.closing(connected) as connection:
            connection.send(json.dumps(request))
            while json.loads(connection.recv())["parent_header"].get("msg_id") != "m1":
                pass


def test_outputs_are_not_limited(own_gateway: Gateway) -> None:
    url = f"{own_gateway.url.replace('http', 'ws', 1)}/api/kernels/{own_gateway.start_kernel()}/channels"
    header = {"msg_id": "m1", "msg_type": "execute_request", "username": "", "session": "s1", "version": "5.3"}
    content = {"code": "for _ in range(12): print('x' * 1_000_000)", "silent": False, "store_history": False}
    request = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
    printed, deadline = 0, Deadline(60)
    with contextlib.closing(
        websocket.create_connection(
            url, timeout=20, header={"Authorization": f"token {TOKEN}"}, skip_utf8_validation=True
        )
    ) as connection:
        connection.send(json.dumps(request))
        while not deadline.expired():
            message = json.loads(connection.recv())
            if message["msg_type"] == "stream":
                printed += len(message["content"]["text"])
            elif message["content"].get("execution_state") == "idle" and message["parent_header"].get("msg_id") == "m1":
                break
    assert printed == 12 * 1_000_001


@pytest.mark.parametrize(("name", "folder"), [("jupyter-server", "/opt/jupyter"), ("kernel-gateway", "/opt/gateway")])
def test_an_image_holds_a_list_of_what_is_in_it(client: Any, launcher: Launcher, name: str, folder: str) -> None:
    image = launcher.image if name == "jupyter-server" else DEFAULT_GATEWAY_IMAGE
    launcher.ensure_image(image)
    listed = json.loads(output_of(client, image, ["cat", f"{folder}/sbom.cdx.json"]))
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.6")
    assert listed["metadata"]["component"]["name"] == name
    refs = [item["bom-ref"] for item in listed["components"]]
    assert len(set(refs)) == len(refs)
    found = {(item["name"].lower(), item["version"]) for item in listed["components"]}
    pins = re.findall(r"^([\w.-]+)==([\w.]+)", (context_dir(name) / "requirements.txt").read_text(), re.MULTILINE)
    left_out = {"rfc3987-syntax", "lark"}
    assert {(pin.lower(), version) for pin, version in pins if pin not in left_out} <= found
    assert not left_out & {item for item, _ in found}
    assert {"python", "pip", "dpkg", "libc6"} <= {item for item, _ in found}
    assert not [ref for ref in refs if ref.startswith("pkg:pypi/jupyter-launcher")]


def test_the_gateways_image_starts_fast(client: Any) -> None:
    script = (
        "import importlib.util as u, json, pathlib, jupyter_server, jupyter_launcher_kernels as ours; "
        "print([pathlib.Path(u.cache_from_source(m.__file__)).exists() for m in (json, jupyter_server, ours)], "
        "u.find_spec('rfc3987_syntax'))"
    )
    output = output_of(client, DEFAULT_GATEWAY_IMAGE, ["python3", "-c", script])
    assert output == "[True, True, True] None\n"
