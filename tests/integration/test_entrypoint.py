"""Images whose ENTRYPOINT prepares what the server needs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    Launcher,
    ServerStartError,
    ServerTimeoutError,
    Session,
    SessionConflictError,
    SessionState,
    StopMethod,
    Timeouts,
)
from tests.containers import build_image, eventually, warnings_of
from tests.integration.test_inside import terminal
from tests.integration.test_session import in_container, start_kernel

Start = Callable[..., Session]

# `jupyter` is found only where this has run.
ENTRYPOINT = r"""#!/bin/sh
export PATH="/opt/jupyter/bin:$PATH" GREETING="two
lines"
unset TAKEN_OUT
umask 027
case ${MODE-} in
  fails) echo no licence for this machine >&2; exit 3 ;;
  hangs) exec sleep 600 ;;
  wraps) "$@"; exit ;;
  copies) # what the command prints, until nobody can print any more
    mkfifo /tmp/printed; cat /tmp/printed &
    "$@" >/tmp/printed 2>&1 & command=$!
    trap 'kill "$command"' TERM
    wait "$command"; wait "$command"; code=$?
    wait; exit "$code" ;;
esac
exec "$@"
"""

# The brackets keep the shell that looks from finding itself.
OF_KERNEL = "for it in /proc/[0-9]*; do ! grep -qs 'ipykernel[_]launcher' $it/cmdline || cat $it/{}; done"


@pytest.fixture(scope="module")
def image(launcher: Launcher, client: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("image")
    (folder / "entrypoint").write_text(ENTRYPOINT)
    (folder / "entrypoint").chmod(0o755)
    (folder / "Dockerfile").write_text(
        f"FROM {launcher.image}\n"
        "COPY entrypoint /entrypoint\n"
        "ENV PATH=/usr/bin:/bin TAKEN_OUT=1 JUPYTER_GATEWAY_URL=http://eg.example JUPYTER_DATA_DIR=/proc/data\n"
        'ENTRYPOINT ["/entrypoint"]\n'
    )
    tag = f"jupyter-launcher/test:{launcher.namespace}-entrypoint"
    build_image(client, folder, tag)
    yield tag
    client.images.remove(tag, force=True)


@pytest.mark.usefixtures("needs_input")
def test_the_server_runs_in_the_environment_that_the_entrypoint_leaves(
    start: Start, image: str, pipeline_dir: Path, client: Any
) -> None:
    session = start(image=image, session_id="entered", environment={"MY_VAR": "1"})
    assert warnings_of(session) == []
    assert session.gateway is None
    start_kernel(session)
    of_kernel = in_container(client, session, OF_KERNEL.format("environ"))
    with terminal(session) as connection:
        # The file is written whole before it has its name.
        connection.send(json.dumps(["stdin", "cat /proc/$$/environ >seen; mv seen environ\r"]))
        assert eventually((pipeline_dir / "environ").exists)
    of_command = session.run(["sh", "-c", "umask >&2; cat /proc/self/environ"])
    assert of_command.stderr == "0027\n"
    for text in (of_kernel, (pipeline_dir / "environ").read_text(), of_command.stdout):
        seen = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
        assert seen["GREETING"] == "two\nlines"
        assert seen["MY_VAR"] == "1"
        taken_out = ("TAKEN_OUT", "JUPYTER_GATEWAY_URL", "JUPYTER_DATA_DIR", "JUPYTER_TOKEN_FILE")
        assert [name for name in taken_out if name in seen] == []
    assert "Umask:\t0027\n" in in_container(client, session, OF_KERNEL.format("status"))
    assert (pipeline_dir / "environ").stat().st_mode & 0o777 == 0o640
    assert in_container(client, session, "ls -A /run/jupyter-launcher").split().count("environment") == 1
    with pytest.raises(SessionConflictError) as caught:
        start(image=image, session_id="entered", environment={"MY_VAR": "1"}, entrypoint=False)
    assert caught.value.differences == ("entrypoint was True, now False",)
    client.containers.get(session.container_id).stop()
    assert session.status().state is SessionState.EXITED
    assert session.status().exit_code == 0


def test_an_entrypoint_that_keeps_sigterm_to_itself_is_told(start: Start, image: str) -> None:
    session = start(image=image, environment={"MODE": "wraps"})
    (warning,) = warnings_of(session)
    assert "`docker stop` does not end this session gracefully" in warning
    assert "`entrypoint` of the image's ENTRYPOINT" in warning
    start_kernel(session)
    assert session.stop().method is StopMethod.API


def test_an_entrypoint_that_copies_the_output_ends_with_its_command(start: Start, image: str, client: Any) -> None:
    session = start(image=image, environment={"MODE": "copies"})
    client.containers.get(session.container_id).stop()
    assert session.status().exit_code == 0


def test_an_entrypoint_that_fails_is_named(start: Start, image: str, log_says: Callable[[str], str]) -> None:
    with pytest.raises(ServerStartError, match=r"ENTRYPOINT \['/entrypoint'\] ended with exit code 3") as caught:
        start(image=image, environment={"MODE": "fails"})
    assert caught.value.exit_code == 3
    assert log_says("no licence") in caught.value.log_tail


def test_an_entrypoint_that_never_runs_its_command_is_named(start: Start, image: str) -> None:
    with pytest.raises(ServerTimeoutError, match=r"ENTRYPOINT \['/entrypoint'\] did not run its command") as caught:
        start(image=image, environment={"MODE": "hangs"}, timeouts=Timeouts(start=3))
    assert "entrypoint=False" in caught.value.hint


def test_without_its_entrypoint_an_image_may_lack_what_it_sets(start: Start, image: str) -> None:
    with pytest.raises(ServerStartError, match=r"no `jupyter` is on the PATH \(/usr/bin:/bin\)"):
        start(image=image, entrypoint=False)
