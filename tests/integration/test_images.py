"""The images are built by the library, from the context that travels with it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from jupyter_launcher import (
    DEFAULT_IMAGE,
    BuildOptions,
    Event,
    EventKind,
    ImageBuildError,
    ImageNotFoundError,
    Launcher,
    OptionError,
    SessionState,
)
from jupyter_launcher.engine.images import context_dir

CERTIFICATES = tuple(sorted(Path("/usr/local/share/ca-certificates").glob("*.crt")))

SHOW_PACKAGE = """
import importlib.metadata, os, tinydb
folder = os.path.dirname(tinydb.__file__)
print(folder.partition("/python")[0], importlib.metadata.version("tinydb"), os.access(folder, os.W_OK))
"""


@pytest.fixture
def options(base_image: str) -> BuildOptions:
    """What `make images` built with, so that the engine's cache has nearly all of it."""
    return BuildOptions(base_image=base_image, ca_certificates=CERTIFICATES)


@pytest.fixture(autouse=True)
def no_image_left(client: Any) -> Iterator[None]:
    def nameless() -> set[str]:
        return {image.id for image in client.images.list(filters={"dangling": True})}

    before = nameless()
    yield
    assert nameless() - before == set()


def steps(events: list[Event]) -> int:
    return len([event for event in events if event.kind is EventKind.PROGRESS])


def test_the_history_of_an_image_has_no_build_argument(launcher: Launcher, client: Any, options: BuildOptions) -> None:
    history = str(client.images.get(DEFAULT_IMAGE).history())
    assert "overrides.json" in history
    assert "PIP_INDEX_URL" not in history


def test_start_builds_the_default_image_when_it_is_missing_and_only_then(
    client: Any, namespace: str, pipeline_dir: Path, options: BuildOptions
) -> None:
    events: list[Event] = []
    kept = f"jupyter-launcher/test:{namespace}"
    client.images.get(DEFAULT_IMAGE).tag(*kept.split(":"))
    client.images.remove(DEFAULT_IMAGE)
    try:
        with Launcher(namespace=namespace, build=options, on_event=events.append) as launcher:
            with pytest.raises(ImageNotFoundError):
                launcher.start(pipeline_dir, pull="never")
            with launcher.start(pipeline_dir) as session:
                assert session.status().state is SessionState.READY
            assert steps(events) > 10
            events.clear()
            built = client.images.get(DEFAULT_IMAGE).id
            launcher.build_image()
            assert (client.images.get(DEFAULT_IMAGE).id, steps(events)) == (built, 0)
    finally:
        if not client.images.list(DEFAULT_IMAGE):
            client.images.get(kept).tag(*DEFAULT_IMAGE.split(":"))
        client.images.remove(kept)


def test_a_build_that_fails_shows_what_it_printed(launcher: Launcher) -> None:
    options = BuildOptions(base_image="no.such.registry.invalid/base")
    with pytest.raises(ImageBuildError, match="base image") as caught:
        launcher.build_image(tag="jupyter-launcher/test:never", options=options)
    assert "Step 1/" in caught.value.log_tail
    assert caught.value.image == "jupyter-launcher/test:never"


@pytest.mark.parametrize("content", [None, b"not a certificate"])
def test_certificates_that_are_none(launcher: Launcher, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "company.crt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OptionError, match=r"company\.crt"):
        launcher.build_image(options=BuildOptions(ca_certificates=(file,)))


def test_a_file_with_another_hash_is_refused(
    launcher: Launcher, client: Any, options: BuildOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {image.id for image in client.images.list(filters={"dangling": True})}
    context = tmp_path / "context"
    shutil.copytree(context_dir("kernel-gateway"), context)
    (context / "requirements.txt").write_text(f"six==1.17.0 --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr("jupyter_launcher.engine.images.context_dir", lambda _: context)
    with pytest.raises(ImageBuildError) as caught:
        launcher.build_image("kernel-gateway", tag="jupyter-launcher/test:never", options=options)
    assert "DO NOT MATCH THE HASHES" in caught.value.log_tail
    assert "require_hashes=False" in caught.value.hint
    for image in client.images.list(filters={"dangling": True}):  # the steps before, which the engine keeps
        if image.id not in before:
            client.images.remove(image.id)


def test_packages_are_a_layer_upon_the_default_image(
    launcher: Launcher, client: Any, tmp_path: Path, pipeline_dir: Path, namespace: str
) -> None:
    before = {image.id for image in client.images.list(filters={"dangling": True})}
    file = tmp_path / "requirements.txt"
    file.write_text("tinydb==4.8.2\n")
    with Launcher(namespace=namespace, build=BuildOptions(requirements=file)) as with_packages:
        try:
            with with_packages.start(pipeline_dir) as session:
                found = client.containers.get(session.container_id).exec_run(["python", "-c", SHOW_PACKAGE])
                assert found.output.decode().split() == ["/opt/jupyter/lib", "4.8.2", "False"]
            layers = [
                client.images.get(name).attrs["RootFS"]["Layers"] for name in (DEFAULT_IMAGE, with_packages.image)
            ]
            assert layers[1][: len(layers[0])] == layers[0]
            built = client.images.get(with_packages.image).id
            assert client.images.get(with_packages.build_image()).id == built
        finally:
            client.images.remove(with_packages.image, force=True)
    wanted = BuildOptions(requirements=["tornado<5"])  # the server has a newer one, and keeps it
    with pytest.raises(ImageBuildError) as caught:
        launcher.build_image(options=wanted)
    assert "tornado" in caught.value.log_tail
    for image in client.images.list(filters={"dangling": True}):  # the steps before, which the engine keeps
        if image.id not in before:
            client.images.remove(image.id)


def test_there_is_no_such_image(launcher: Launcher) -> None:
    with pytest.raises(OptionError, match="jupyter-server, kernel-gateway"):
        launcher.build_image("nonsense")


def test_the_image_is_fit_to_be_embedded(client: Any) -> None:
    """No news, no update check, .pyc files for the very interpreter, and no slow import."""
    script = (
        "cat /opt/jupyter/etc/jupyter/jupyter_config.json; "
        "cat /opt/jupyter/etc/jupyter/jupyter_lab_config.json; "
        "cat /opt/jupyter/share/jupyter/lab/settings/overrides.json; "
        "python3 -c 'import importlib.util as u, json, jupyter_server, pathlib; "
        "print([pathlib.Path(u.cache_from_source(m.__file__)).exists() for m in (json, jupyter_server)], "
        'u.find_spec("rfc3987_syntax"))\'; command -v node; id -u; ls -ld /home/jovyan; '
        "find / -xdev -type f -perm /6000 | sed 's/^/with setuid: /'; ls -l /etc/passwd"
    )
    output = client.containers.run(DEFAULT_IMAGE, ["sh", "-c", script], remove=True).decode()
    assert '"always_delete_dir": true' in output
    assert '"delete_to_trash": false' in output
    assert '"news_url": null' in output
    assert '"fetchNews": "false"' in output
    assert "[True, True] None" in output
    assert "/node" not in output
    assert "drwxrwxrwt" in output
    assert "-rw-rw-rw-" in output, "nobody can add a name to a uid"
    assert "setuid" not in output, "a line of /etc/passwd could make somebody root"
    assert docker.__version__ >= "7.2"
