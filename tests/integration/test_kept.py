"""What stays between two sessions: volumes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jupyter_launcher import Launcher, Volume
from jupyter_launcher.pytest_plugin import ServerFactory

MakeVolume = Callable[[], Volume]


@pytest.fixture
def make_volume(client: Any) -> Iterator[MakeVolume]:
    """Names of volumes that are not there yet; they are removed at the end."""
    made: list[Volume] = []

    def make() -> Volume:
        made.append(Volume(f"jupyter-launcher-test-{uuid.uuid4().hex[:12]}"))
        return made[-1]

    yield make
    for volume in made:
        client.volumes.get(volume.name).remove()


def run(client: Any, container: str, script: str, user: str = "") -> str:
    """What a script prints in a container, as the session's user."""
    found = client.containers.get(container).exec_run(["sh", "-c", script], user=user)
    return str(found.output.decode()).strip()


def test_a_pipeline_in_a_volume(client: Any, launcher: Launcher, make_volume: MakeVolume, start: ServerFactory) -> None:
    volume = make_volume()
    with launcher.run_gateway(volume) as gateway:
        session = start(volume, gateway=gateway, session_id=uuid.uuid4().hex[:12])
        assert (session.pipeline_dir, session.warnings) == (volume, ())
        assert [item.pipeline_dir for item in launcher.list() if item.session_id == session.id] == [volume]
        assert launcher.start(volume, gateway=gateway, session_id=session.id).joined
        run(client, session.container_id, "mkdir sub && echo kept >sub/a.txt")
        assert run(client, gateway.name, "id -u; cat sub/a.txt; stat -c %u:%g .") == "1000\nkept\n1000:1000"
        session.stop()
    session = start(volume, pipeline_read_only=True)
    assert run(client, session.container_id, "id -u; cat sub/a.txt; touch b 2>/dev/null || echo no") == "1000\nkept\nno"


def test_a_volume_is_given_to_the_user_whatever_the_image_has_there(
    client: Any, make_volume: MakeVolume, start: ServerFactory
) -> None:
    """Our image has ``/pipeline-dir`` of user 1000, which the engine would copy into a new volume, with its owner."""
    session = start(make_volume(), user=1500)
    assert run(client, session.container_id, "id -u; stat -c %u:%g .") == "1500\n1500:1500"
