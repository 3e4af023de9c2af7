"""Images that are there, pulled, or built, on an engine whose answers are made up."""

from __future__ import annotations

import compileall
import re
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import requests
from docker import APIClient
from hypothesis import given

from jupyter_launcher import BuildOptions, EngineError, ImageBuildError, ImageNotFoundError, OptionError
from jupyter_launcher._version import __version__
from jupyter_launcher.acts import Cancel, run_act
from jupyter_launcher.engine.build.context import context_files
from jupyter_launcher.engine.images import (
    CONTEXTS,
    DEFAULT_GATEWAY_IMAGE,
    DEFAULT_IMAGE,
    ImageStore,
    context_dir,
    packages_tag,
    tag_of,
)
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.waiting import Deadline
from tests.unit.sdk import FakeApi, answer_on_a_socket, api_error, docker_engine
from tests.unit.strategies import FEW, error_of, json_values, replaced

ABSENT = api_error(404, "no such image")


class Reports(list[tuple[str, int, int]]):
    def __call__(self, detail: str, done: int = 0, total: int = 0) -> None:
        self.append((detail, done, total))


def store(**answers: Any) -> tuple[ImageStore, FakeApi]:
    api = FakeApi(**answers)
    return docker_engine(api).images, api


def ensure(images: ImageStore, image: str, pull: str = "missing", seconds: float = 60) -> Reports:
    reports = Reports()
    images.ensure(image, pull, BuildOptions(), Deadline(seconds), reports)
    return reports


def build(
    images: ImageStore, options: BuildOptions | None = None, *, seconds: float = 60, force: bool = False
) -> Reports:
    reports = Reports()
    images.build("jupyter-server", "tag", options or BuildOptions(), Deadline(seconds), reports, force=force)
    return reports


def test_what_pip_compiled_is_no_part_of_a_build(tmp_path: Path) -> None:
    shutil.copytree(context_dir("kernel-gateway"), tmp_path / "context", ignore=shutil.ignore_patterns("__pycache__"))
    before = context_files(tmp_path / "context", ())
    assert compileall.compile_dir(tmp_path / "context", quiet=1)
    assert list(tmp_path.rglob("*.pyc"))
    assert context_files(tmp_path / "context", ()) == before


def test_tags_are_of_this_version() -> None:
    assert (tag_of("jupyter-server"), tag_of("kernel-gateway")) == (DEFAULT_IMAGE, DEFAULT_GATEWAY_IMAGE)


@pytest.mark.parametrize("name", CONTEXTS)
def test_the_build_contexts_are_in_the_package_or_beside_it(name: str) -> None:
    assert (context_dir(name) / "Dockerfile").is_file()


@pytest.mark.parametrize("name", ["nonsense", "..", "", "jupyter-server/..", 5, None, ["jupyter-server"], b"x", "a\0b"])
def test_other_contexts_there_are_none(name: Any) -> None:
    with pytest.raises(OptionError) as caught:
        context_dir(name)
    assert caught.value.option == "name"


def test_an_image_is_found_by_its_name() -> None:
    assert store(inspect_image={"Id": "sha256:1"})[0].find("x") == "sha256:1"
    assert store(inspect_image=ABSENT)[0].find("x") is None
    with pytest.raises(EngineError):
        store(inspect_image=api_error(500, "disk full"))[0].find("x")


@FEW
@given(json_values())
def test_whatever_an_engine_says_of_an_image_is_a_value_or_a_typed_error(value: Any) -> None:
    for raw in replaced({"Id": "1", "Config": {"Labels": {"jupyter-launcher.inputs": "x"}}}, value):
        images, _ = store(inspect_image=raw, build=[])
        error_of(EngineError, lambda images=images: images.find("x"))  # type: ignore[misc]
        error_of(EngineError, lambda images=images: build(images))  # type: ignore[misc]


PULLED = {"id": "a", "status": "Downloading", "progressDetail": {"current": 1, "total": 2}}


@FEW
@given(json_values())
def test_whatever_a_pull_says_is_reported_or_a_typed_error(value: Any) -> None:
    for item in replaced(PULLED, value):
        images, _ = store(inspect_image=ABSENT, pull=[PULLED, item])
        error = error_of(ImageNotFoundError, lambda images=images: ensure(images, "x"))  # type: ignore[misc]
        assert error is None or "cannot be pulled" in error.message


def test_a_deep_answer_is_a_typed_error() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ImageNotFoundError, match="unexpected shape"):
        ensure(store(inspect_image=ABSENT, pull=[{"status": deep}])[0], "x")
    with pytest.raises(ImageBuildError, match="unexpected shape"):
        build(store(inspect_image=ABSENT, build=[{"stream": deep}])[0])


@FEW
@given(json_values())
def test_whatever_a_build_says_is_reported_or_a_typed_error(value: Any) -> None:
    for item in replaced({"stream": "Step 1/2 : FROM x", "error": "pip failed", "status": "x"}, value):
        images, _ = store(inspect_image=ABSENT, build=[item])
        error = error_of(ImageBuildError, lambda images=images: build(images))  # type: ignore[misc]
        assert error is None or "could not be built" in error.message


@pytest.mark.parametrize("pull", ["", "sometimes", "Always", 5, None, ["missing"]])
def test_when_to_pull_is_one_of_three(pull: Any) -> None:
    images, api = store()
    with pytest.raises(OptionError) as caught:
        ensure(images, "x", pull)
    assert (caught.value.option, api.names) == ("pull", [])


@pytest.mark.parametrize("pull", ["missing", "never"])
def test_an_image_that_is_there_is_left_as_it_is(pull: str) -> None:
    images, api = store(inspect_image={"Id": "1"})
    assert ensure(images, "x", pull) == []
    assert api.names == ["inspect_image"]


def test_an_image_that_must_not_be_pulled() -> None:
    with pytest.raises(ImageNotFoundError, match="pull is 'never'") as caught:
        ensure(store(inspect_image=ABSENT)[0], "x", "never")
    assert (caught.value.image, caught.value.status) == ("x", 404)


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("x", "x:latest"),
        ("host:5000/x", "host:5000/x:latest"),
        ("x:1", "x:1"),
        ("host:5000/x:1", "host:5000/x:1"),
        ("x@sha256:00", "x@sha256:00"),
    ],
)
def test_one_tag_is_pulled(image: str, name: str) -> None:
    images, api = store(inspect_image=ABSENT, pull=[])
    ensure(images, image)
    assert api.arguments("pull") == (name,)


def test_always_pulls_what_is_there_too() -> None:
    images, api = store(inspect_image={"Id": "1"}, pull=[])
    ensure(images, "x", "always")
    assert api.names == ["pull"]


def test_a_pull_counts_bytes() -> None:
    def downloaded(layer: str, current: int, total: int) -> dict[str, Any]:
        return {"id": layer, "status": "Downloading", "progressDetail": {"current": current, "total": total}}

    stream = [
        {"status": "Pulling from x"},
        downloaded("a", 1, 10),
        downloaded("b", 5, 20),
        {"id": "a", "status": "Extracting", "progressDetail": {"current": 3, "total": 99}},
        {"id": "c", "status": "Waiting"},
    ]
    assert ensure(store(inspect_image=ABSENT, pull=stream)[0], "x") == [
        ("Pulling from x", 0, 0),
        ("a Downloading", 1, 10),
        ("b Downloading", 6, 30),
        ("a Extracting", 15, 30),
        ("c Waiting", 15, 30),
    ]


@pytest.mark.parametrize(
    ("answer", "seen", "status"),
    [
        ([{"error": "manifest unknown"}], "manifest unknown", None),
        (api_error(404, "pull access denied"), "pull access denied", 404),
    ],
)
def test_a_pull_that_fails(answer: object, seen: str, status: int | None) -> None:
    with pytest.raises(ImageNotFoundError, match=seen) as caught:
        ensure(store(inspect_image=ABSENT, pull=answer)[0], "x")
    assert (caught.value.image, caught.value.status) == ("x", status)
    assert "docker login" in caught.value.hint


def test_a_pull_that_takes_too_long() -> None:
    with pytest.raises(ImageNotFoundError, match="not done after 0 s"):
        ensure(store(inspect_image=ABSENT, pull=[{"status": "x"}])[0], "x", seconds=0.0)


@pytest.mark.parametrize(
    "image", ["jupyter-launcher/jupyter-server:0.0.9", "jupyter-launcher/jupyter-server-packages:0.1.0-0123456789ab"]
)
def test_an_image_of_ours_that_is_another_one_is_not_pulled(image: str) -> None:
    images, api = store(inspect_image=ABSENT)
    with pytest.raises(ImageNotFoundError, match="this launcher builds another one") as caught:
        ensure(images, image)
    assert caught.value.image == image
    assert "pull" not in api.names


def test_an_image_of_ours_is_built_and_not_pulled() -> None:
    images, api = store(inspect_image=ABSENT, build=[])
    ensure(images, DEFAULT_IMAGE)
    assert "pull" not in api.names
    assert api.options("build")["tag"] == DEFAULT_IMAGE


def test_a_build_gets_its_context_and_its_arguments() -> None:
    images, api = store(inspect_image=ABSENT, build=[])
    build(images, BuildOptions(index_url="https://index"))
    given = api.options("build")
    assert given["buildargs"]["PIP_INDEX_URL"] == "https://index"
    assert set(given["buildargs"]) == {"PIP_INDEX_URL", "BUILD_ID"}
    assert (given["custom_context"], given["nocache"], given["decode"]) == (True, False, True)
    with tarfile.open(fileobj=given["fileobj"]) as archive:
        assert "Dockerfile" in archive.getnames()
        assert {member.mtime for member in archive} == {0}


def test_a_build_reports_its_steps() -> None:
    stream = [{"stream": "Step 1/3 : FROM x\n"}, {"stream": " ---> 0\n"}, {"stream": "STEP 2/3: RUN y\n"}, {"aux": {}}]
    assert build(store(inspect_image=ABSENT, build=stream)[0]) == [
        ("Step 1/3 : FROM x", 0, 3),
        ("STEP 2/3: RUN y", 1, 3),
    ]


def labelled(api: FakeApi) -> dict[str, Any]:
    """The image as the build has labelled it."""
    return {"Id": "new", "Config": {"Labels": api.options("build")["labels"]}}


def test_nothing_is_built_when_nothing_changed() -> None:
    images, api = store(inspect_image=ABSENT, build=[])
    build(images)
    again, other = store(inspect_image=labelled(api))
    build(again)
    assert other.names == ["inspect_image"]


@pytest.mark.parametrize(
    ("options", "force"), [(BuildOptions(), True), (BuildOptions(index_url="https://other"), False)]
)
def test_it_is_built_anew_when_something_changed_or_it_is_forced(options: BuildOptions, force: bool) -> None:  # noqa: FBT001 - pytest's
    images, api = store(inspect_image=ABSENT, build=[])
    build(images)
    again, other = store(inspect_image=labelled(api), build=[])
    build(again, options, force=force)
    assert other.options("build")["nocache"] == force
    assert "remove_image" not in other.names  # the build gave the same image


@pytest.mark.parametrize("labels", [None, {"jupyter-launcher.inputs": "other"}])
@pytest.mark.parametrize("error", [None, api_error(409, "in use"), ABSENT])
def test_the_image_that_was_replaced_is_removed_unless_it_is_used(
    labels: dict[str, str] | None, error: Exception | None
) -> None:
    found: Iterator[Any] = iter([{"Id": "old", "Config": {"Labels": labels}}, {"Id": "new"}])
    images, api = store(inspect_image=found, build=[], remove_image=error)
    build(images)
    assert api.arguments("remove_image") == ("old",)


def test_a_replaced_image_that_cannot_be_removed() -> None:
    found: Iterator[Any] = iter([{"Id": "old", "Config": {}}, {"Id": "new"}])
    images, _ = store(inspect_image=found, build=[], remove_image=api_error(500, "disk full"))
    with pytest.raises(EngineError, match="disk full"):
        build(images)


def test_a_build_gets_the_proxies_that_no_option_sets() -> None:
    api = FakeApi(inspect_image=ABSENT, build=[])
    proxies = HiddenTexts({"HTTP_PROXY": "theirs", "http_proxy": "theirs", "all_proxy": "theirs"})
    build(ImageStore(lambda: cast("APIClient", api), "unix:///x", proxies), BuildOptions(http_proxy="mine"))
    given = api.options("build")
    assert given["use_config_proxy"] is False
    del given["buildargs"]["BUILD_ID"]
    assert given["buildargs"] == {"HTTP_PROXY": "mine", "all_proxy": "theirs"}


def test_a_build_that_fails_shows_what_it_printed_and_leaves_no_stage() -> None:
    stream = [{"stream": f"line {number}\n\n"} for number in range(50)]
    images, api = store(inspect_image=ABSENT, build=[*stream, {"error": "pip failed\n"}])
    with pytest.raises(ImageBuildError, match="could not be built: pip failed") as caught:
        build(images)
    assert caught.value.log_tail.splitlines() == [f"line {number}" for number in range(10, 50)]
    assert caught.value.image == "tag"
    (build_id,) = {value for name, value in api.options("build")["buildargs"].items() if name == "BUILD_ID"}
    assert api.options("prune_images") == {
        "filters": {"dangling": True, "label": f"jupyter-launcher.build={build_id}"},
    }


def test_a_build_that_takes_too_long() -> None:
    with pytest.raises(ImageBuildError, match="not done after 0 s") as caught:
        build(store(inspect_image=ABSENT, build=[{"stream": "x"}])[0], seconds=0.0)
    assert caught.value.__cause__ is not None


def silent(api: FakeApi, call: str, response: requests.Response, event: threading.Event) -> None:
    """Let a call answer as the SDK does, with a stream of which one item has come."""
    sdk: Any = APIClient(base_url="unix:///x", version="1.41")

    def start(*_: object, **__: object) -> Iterator[Any]:
        stream = sdk._stream_helper(response, decode=True)
        event.set()
        return stream  # type: ignore[no-any-return]

    api.answers[call] = start


ITEM = b'{"status": "x"}\n'
CHUNK = b"%x\r\n%s\r\n" % (len(ITEM), ITEM)
CALLS = [("pull", ensure), ("build", lambda images, _="", **given: build(images, **given))]


@pytest.mark.parametrize(("call", "act"), CALLS)
@pytest.mark.parametrize("chunks", [b"", CHUNK])
def test_a_cancel_ends_a_silent_stream_at_once_and_its_connection(call: str, act: Any, chunks: bytes) -> None:
    images, api = store(inspect_image=ABSENT)
    event, soon = threading.Event(), Deadline(5)
    with answer_on_a_socket(chunks, headers=b"Transfer-Encoding: chunked\r\n") as (response, engine):
        silent(api, call, response, event)
        with pytest.raises(KeyError):
            run_act(lambda: act(images, "x"), cancel=Cancel(event, KeyError))
        assert not soon.expired()
        engine.settimeout(5)
        assert engine.recv(1) == b""


@pytest.mark.parametrize(("call", "act"), CALLS)
def test_a_cancel_ends_a_wait_for_an_answer_that_does_not_begin(call: str, act: Any) -> None:
    event, end, soon = threading.Event(), threading.Event(), Deadline(5)

    def start(*_: object, **__: object) -> list[Any]:
        event.set()
        end.wait(20)
        return []

    images, _ = store(inspect_image=ABSENT, **{call: start})
    try:
        with pytest.raises(KeyError):
            run_act(lambda: act(images, "x"), cancel=Cancel(event, KeyError))
        assert not soon.expired()
    finally:
        end.set()


@pytest.mark.parametrize(("call", "act"), CALLS)
def test_the_deadline_ends_a_silent_stream(call: str, act: Any) -> None:
    images, api = store(inspect_image=ABSENT)
    soon = Deadline(5)
    with answer_on_a_socket(CHUNK, headers=b"Transfer-Encoding: chunked\r\n") as (response, _):
        silent(api, call, response, threading.Event())
        with pytest.raises(EngineError, match=r"not done after 0\.2 s"):
            act(images, "x", seconds=0.2)
        assert not soon.expired()


def test_a_stream_is_read_where_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert ensure(store(inspect_image=ABSENT, pull=[{"status": "x"}])[0], "x") == [("x", 0, 0)]


def test_a_stream_that_nobody_reads_any_more_is_left() -> None:
    on, asked = threading.Event(), threading.Event()

    def stream() -> Iterator[dict[str, str]]:
        yield {"error": "manifest unknown"}
        on.wait(5)
        yield {"status": "x"}
        asked.set()

    images, _ = store(inspect_image=ABSENT, pull=lambda *_, **__: stream())
    with pytest.raises(ImageNotFoundError, match="manifest unknown"):
        ensure(images, "x")
    on.set()
    for thread in threading.enumerate():
        if thread.name == "jupyter-launcher":
            thread.join(5)
    assert not asked.is_set()


def test_the_base_image_is_an_input() -> None:
    digests = set()
    for base in ("one", "two"):
        found: Iterator[Any] = iter([{"Id": base}, ABSENT])
        images, api = store(inspect_image=found, build=[])
        build(images, BuildOptions(base_image="python:3"))
        digests |= set(api.options("build")["labels"].values())
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("printed", "named"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", True),
        ("ERROR: In --require-hashes mode, all requirements must have their versions pinned with ==.", True),
        ("Step 8/26 : RUN pip install --require-hashes --requirement requirements.txt", False),
    ],
)
def test_an_error_names_the_way_without_hashes_where_pip_speaks_of_them(printed: str, named: bool) -> None:  # noqa: FBT001 - pytest's
    images, _ = store(inspect_image=ABSENT, build=[{"stream": printed}, {"error": "pip returned 1"}])
    with pytest.raises(ImageBuildError) as caught:
        build(images)
    assert ("require_hashes=False" in caught.value.hint) == named
    assert ("index URL" in caught.value.hint) == (not named)


@pytest.mark.parametrize("name", CONTEXTS)
def test_each_pin_of_an_image_has_a_hash(name: str) -> None:
    lines = (context_dir(name) / "requirements.txt").read_text().replace("\\\n", "").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+( +--hash=sha256:[0-9a-f]{64})+", pin)] == []


def test_both_images_are_listed_by_the_same_script() -> None:
    assert len({(context_dir(name) / "write_sbom.py").read_bytes() for name in CONTEXTS}) == 1


def with_packages(*lines: str, **options: Any) -> BuildOptions:
    return BuildOptions(requirements=lines, **options)


def test_packages_have_an_image_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("pandas\n")
    tags = {
        packages_tag("jupyter-server", with_packages("pandas")),
        packages_tag("jupyter-server", BuildOptions(requirements=tmp_path / "one.txt")),
        packages_tag("jupyter-server", BuildOptions(requirements=str(tmp_path / "one.txt"), index_url="https://index")),
    }
    assert len(tags) == 1
    assert re.fullmatch(
        rf"jupyter-launcher/jupyter-server-packages:{re.escape(__version__)}-[0-9a-f]{{12}}", next(iter(tags))
    )
    others = {
        packages_tag("jupyter-server", with_packages("pandas", "polars")),
        packages_tag("jupyter-server", with_packages("pandas", base_image="python:3")),
        packages_tag("kernel-gateway", with_packages("pandas")),
    }
    assert len(tags | others) == 4
    assert packages_tag("jupyter-server", BuildOptions()) == DEFAULT_IMAGE
    with pytest.raises(OptionError, match=r"none\.txt cannot be read") as caught:
        packages_tag("jupyter-server", BuildOptions(requirements=tmp_path / "none.txt"))
    assert caught.value.option == "requirements"


def test_packages_are_a_layer_on_the_image_that_is_there() -> None:
    options = with_packages("pandas>=2", "./local", base_image="python:3", index_url="https://index")
    found: Iterator[Any] = iter([ABSENT, {"Id": "base"}, {"Id": "base"}, ABSENT])
    images, api = store(inspect_image=found, build=[])
    images.ensure(packages_tag("jupyter-server", options), "missing", options, Deadline(60), Reports())
    assert api.names == ["inspect_image", "inspect_image", "inspect_image", "inspect_image", "build", "prune_images"]
    given = api.options("build")
    assert given["tag"] == packages_tag("jupyter-server", options)
    assert (given["buildargs"]["BASE_IMAGE"], given["buildargs"]["PIP_INDEX_URL"]) == (DEFAULT_IMAGE, "https://index")
    with tarfile.open(fileobj=given["fileobj"]) as archive:
        assert sorted(archive.getnames()) == ["Dockerfile", "requirements.txt"]
        assert archive.extractfile("requirements.txt").read() == b"pandas>=2\n./local\n"  # type: ignore[union-attr] # a file


def test_the_image_below_the_packages_is_built_without_them() -> None:
    options = with_packages("pandas", base_image="python:3")
    images, api = store(inspect_image=ABSENT, build=[])
    images.build("jupyter-server", "tag", options, Deadline(60), Reports())
    assert [given["tag"] for name, _, given in api.asked if name == "build"] == [DEFAULT_IMAGE, "tag"]
    images, api = store(inspect_image=ABSENT, build=[])
    images.ensure(DEFAULT_IMAGE, "missing", options, Deadline(60), Reports())
    assert api.options("build")["buildargs"]["BASE_IMAGE"] == "python:3"


@pytest.mark.parametrize("require_hashes", [True, False])
def test_the_image_for_notebooks_is_a_layer_upon_the_default_one(require_hashes: bool) -> None:  # noqa: FBT001 - pytest's
    found: Iterator[Any] = iter([ABSENT, {"Id": "base"}, {"Id": "base"}, ABSENT])
    images, api = store(inspect_image=found, build=[])
    options = BuildOptions(require_hashes=require_hashes)
    images.ensure(tag_of("notebook"), "missing", options, Deadline(60), Reports())
    given = api.options("build")
    assert (given["tag"], given["buildargs"]["BASE_IMAGE"]) == (tag_of("notebook"), DEFAULT_IMAGE)
    assert given["buildargs"]["DEBIAN_PACKAGES"] == "git"
    with tarfile.open(fileobj=given["fileobj"]) as archive:
        pins = archive.extractfile("requirements.txt").read().decode()  # type: ignore[union-attr] # a file
    lines = [line for line in pins.replace("\\\n", "").splitlines() if not line.startswith("#")]
    pattern = r"[\w.-]+==[\w.]+" + (r"( +--hash=sha256:[0-9a-f]{64})+" if require_hashes else "")
    assert [line for line in lines if not re.fullmatch(pattern, line)] == []
    assert {"ipywidgets", "matplotlib", "pandas"} <= {line.partition("==")[0].lower() for line in lines}


def test_certificates_travel_in_the_context(tmp_path: Path) -> None:
    certificate = tmp_path / "company.crt"
    certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\n")
    images, api = store(inspect_image=ABSENT, build=[])
    build(images, BuildOptions(ca_certificates=(certificate,)))
    with tarfile.open(fileobj=api.options("build")["fileobj"]) as archive:
        assert "ca-certificates/0-company.crt" in archive.getnames()


@pytest.mark.parametrize(("content", "seen"), [(None, "cannot be read"), (b"DER", "holds no PEM certificate")])
def test_certificates_that_are_none(tmp_path: Path, content: bytes | None, seen: str) -> None:
    certificate = tmp_path / "x.crt"
    if content is not None:
        certificate.write_bytes(content)
    with pytest.raises(OptionError, match=seen) as caught:
        build(store()[0], BuildOptions(ca_certificates=(certificate,)))
    assert caught.value.option == "ca_certificates"
