"""Raw docker-py: ``containers.run`` with what a session's container has, polled until it answers."""

from __future__ import annotations

import functools
from typing import Any

import docker

from benchmarks.candidate import LAB, LABEL, TOKEN, Setting, Start, Started, until_it_answers

PORT = "8888/tcp"


def raw(
    setting: Setting, image: str, *, poll: float = 0.01, gateway_url: str | None = None, gateway_token: str = ""
) -> Start:
    """A candidate; its ``stop`` is as graceful as a session's: SIGTERM, then the container is removed."""

    def start() -> Started:
        token = {"JUPYTER_GATEWAY_AUTH_TOKEN": gateway_token}
        container = run(setting, image, [f"--gateway-url={gateway_url}"] if gateway_url else [], token)
        url = f"http://127.0.0.1:{container.ports[PORT][0]['HostPort']}/"
        until_it_answers(f"{url}api", poll)
        return Started(url=url, stop=functools.partial(stop, container))

    return start


def run(setting: Setting, image: str, arguments: list[str], environment: dict[str, str]) -> Any:
    container = setting.client.containers.run(
        image,
        [*LAB, *arguments],
        detach=True,
        init=True,
        user=setting.user,
        environment={"JUPYTER_TOKEN": TOKEN, "KERNEL_USERNAME": "jupyter", **environment},
        mounts=[docker.types.Mount("/pipeline-dir", str(setting.folder), type="bind")],
        ports={PORT: ("127.0.0.1", None)},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        pids_limit=4096,
        labels={LABEL: setting.run},
    )
    container.reload()
    return container


def stop(container: Any) -> None:
    container.stop()
    container.remove()
