"""testcontainers-python with its HTTP wait.

It starts the untuned image, as its users would. Its reaper, a container of its own that it starts before
the first one, is off: it needs an image from a registry, and it would only make the first start slower.
Its ``stop`` kills: there is no graceful one.
"""

from __future__ import annotations

from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

from benchmarks.candidate import LAB, LABEL, TOKEN, Setting, Start, Started


def in_testcontainers(setting: Setting, *, poll: float | None = None) -> Start:
    """A candidate; ``poll``: seconds between its looks, None: as shipped."""
    testcontainers_config.ryuk_disabled = True
    # It takes a file that some virtual machines have for a proof that it runs in a container itself,
    # and would then look for the port on the bridge.
    testcontainers_config.connection_mode_override = ConnectionMode.docker_host
    testcontainers_config.tc_host_override = "127.0.0.1"

    def start() -> Started:
        wait = HttpWaitStrategy(8888, "/api")
        if poll is not None:
            wait = wait.with_poll_interval(poll)
        container = (
            DockerContainer(setting.untuned)
            .with_command(list(LAB))
            .with_env("JUPYTER_TOKEN", TOKEN)
            .with_volume_mapping(str(setting.folder), "/pipeline-dir", "rw")
            .with_kwargs(user=setting.user, labels={LABEL: setting.run})
            .waiting_for(wait)
        )
        # Its own way to publish takes every interface of the host.
        container.ports = {8888: ("127.0.0.1", None)}
        container.start()
        return Started(url=f"http://127.0.0.1:{container.get_exposed_port(8888)}/", stop=container.stop)

    return start
