"""What is seen to before kernels in containers are started."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import (
    EngineError,
    EngineUnavailableError,
    KernelImage,
    KernelImageError,
    Mount,
    OptionError,
    PipelineDirError,
    UnsupportedOptionError,
)
from jupyter_launcher.engine.types import ContainerConfig
from jupyter_launcher.gateway import preflight
from jupyter_launcher.gateway.preflight import (
    check_kernel_limits,
    check_kernel_mount_points,
    check_kernel_mounts,
    find_kernels,
    try_kernel_mounts,
)
from jupyter_launcher.host.address import EngineAddress
from jupyter_launcher.host.process import process_mark
from jupyter_launcher.host.rules import DirectoryRules
from jupyter_launcher.models.options import HiddenTexts
from jupyter_launcher.spec.kernels.options import KernelOptions, check_kernels
from jupyter_launcher.spec.labels import helper_labels
from jupyter_launcher.spec.server import read_script
from tests.unit.fakes import DOCKER, FakeEngine, refusal

USER = "1234:1234"
PYTHON = "/usr/bin/python3"
RIGHT = ("begin", "home writable", f"command python3 {PYTHON}", f"python 7.4.0 {PYTHON}", "end")


class LookedAt(FakeEngine):
    """An engine whose containers end at once, and have printed what ``prints`` says of their image."""

    def __init__(
        self, prints: Mapping[str, tuple[str, ...]] | None = None, exit_code: int | None = 0, **given: Any
    ) -> None:
        super().__init__(**given)
        self.prints = prints or {}
        self.exit_code = exit_code
        self.raw: str | None = None
        self.on_wait = self._finish
        self.lock = threading.Lock()

    def create(self, config: ContainerConfig, name: str) -> str:
        with self.lock:
            return super().create(config, name)

    def logs(self, container: str, tail: int | None = None) -> str:
        super().logs(container, tail)
        config = next(item for name, item in self.configs.items() if name in (container, self.known[container].name))
        assert config.entrypoint is not None
        mark = config.entrypoint[-1]
        words = self.prints.get(config.image, RIGHT)
        return "".join(f"{mark} {word}\n" for word in words) if self.raw is None else self.raw

    def _finish(self, container: str) -> None:
        if self.exit_code is not None:
            self.end(container, self.exit_code)


def options(isolation: str = "environment", **kernels: str | KernelImage) -> KernelOptions:
    found = check_kernels(kernels or {"k": "image"}, isolation, 16, None)
    assert found is not None
    return found


def refused(engine: FakeEngine, what: KernelOptions | None = None) -> KernelImageError:
    with pytest.raises(KernelImageError) as caught:
        find_kernels(engine, what or options(), USER)
    assert engine.known == {}
    error = caught.value
    assert error.hint
    assert (error.kernel, error.image) == ("k", "image")
    assert error.message.startswith("kernel 'k' cannot run: image image ")
    return error


def test_the_kernel_of_each_image() -> None:
    engine = LookedAt({"other": ("begin", "home closed", "program R", "end")})
    found = find_kernels(
        engine, options("kernel", a="image", b=KernelImage("other", argv=["R", "{connection_file}"])), USER
    )
    assert list(found) == ["a", "b"]
    assert found["a"].argv == (PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}")
    assert found["b"].argv == ("R", "{connection_file}")
    assert [item.home_is_writable for item in found.values()] == [True, False]
    assert engine.known == {}


def test_a_look_is_a_container_that_can_do_little() -> None:
    engine = LookedAt()
    engine.proxies = HiddenTexts({"http_proxy": "http://proxy"})
    find_kernels(
        engine,
        options(k=KernelImage("image", memory="1g", cpus=1, shm_size="1m", gpus="all", environment={"A": "b"})),
        USER,
    )
    (config,) = engine.configs.values()
    assert (config.network, config.mounts, config.capabilities, config.user) == ("none", (), (), USER)
    assert (config.memory, config.cpus, config.shm_size, config.gpus) == (2**30, 1, 2**20, "all")
    assert config.environment == {"http_proxy": "http://proxy", "A": "b"}
    assert config.labels == helper_labels("look", process_mark())
    assert config.keep_entrypoint
    assert config.log_is_read
    assert config.working_dir == "/"


def test_equal_images_are_looked_at_once() -> None:
    engine = LookedAt()
    same: dict[str, Any] = {
        f"k{number}": KernelImage("image", mounts=[Mount(source="/a", target="/a")]) for number in range(3)
    }
    find_kernels(engine, options(a="image", b=KernelImage("image", display_name="B"), **same), USER)
    assert len(engine.configs) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"image": "other"},
        {"memory": "1g"},
        {"cpus": 1},
        {"shm_size": "1m"},
        {"gpus": "all"},
        {"environment": {"PATH": "/x"}},
        {"entrypoint": False},
        {"argv": ["/usr/bin/python3", "{connection_file}"]},
    ],
)
def test_what_makes_another_look(other: dict[str, Any]) -> None:
    engine = LookedAt()
    find_kernels(engine, options(a="image", b=KernelImage(**{"image": "image", **other})), USER)
    assert len(engine.configs) == 2


BOUND = Mount(source="/data", target="/data", propagation="rslave")


def test_the_engine_mounts_what_is_of_its_host_and_no_volume() -> None:
    engine = FakeEngine()
    images = {
        "a": KernelImage("one", mounts=[BOUND, Mount(source="data", target="/v", type="volume")], entrypoint=True),
        "b": KernelImage("two", mounts=[Mount(source="data", target="/v", type="volume")]),
    }
    try_kernel_mounts(engine, options("kernel", **images), USER)
    (config,) = engine.configs.values()
    assert (config.image, config.network, config.user, config.keep_entrypoint) == ("one", "none", USER, False)
    assert [(item.source, item.propagation) for item in config.mounts] == [("/data", "rslave")]
    assert engine.known == {}


@pytest.mark.parametrize(
    ("call", "words", "kind", "seen"),
    [
        ("create", "bind source path does not exist: /data", EngineError, "/data"),
        ("start", "path /data is mounted on / but it is not a shared mount", UnsupportedOptionError, 'kernels["k"]'),
    ],
)
def test_what_the_engine_does_not_mount(call: str, words: str, kind: type[EngineError], seen: str) -> None:
    engine = FakeEngine()
    engine.fail(call, refusal(400, words))
    with pytest.raises(kind) as caught:
        try_kernel_mounts(engine, options("kernel", k=KernelImage("image", mounts=[BOUND])), USER)
    assert seen in caught.value.message
    assert type(caught.value) is kind
    assert engine.known == {}


def test_the_looks_run_at_once() -> None:
    engine = LookedAt()
    together = threading.Barrier(3, timeout=30)

    def wait(container: str) -> None:
        together.wait()
        engine.end(container)

    engine.on_wait = wait
    assert len(find_kernels(engine, options(a="a", b="b", c="c"), USER)) == 3


def test_what_was_seen_is_not_looked_at_again() -> None:
    engine, address = LookedAt(), EngineAddress(FakeEngine())

    def look(image: KernelImage, user: str = USER) -> int:
        find_kernels(engine, options(k=image), user, known=address.kernels_seen)
        return len(engine.configs)

    image = KernelImage("image", memory="1g", environment={"A": "b"})
    assert [look(image), look(image), look(replace(image, display_name="other"))] == [1, 1, 1]
    assert look(replace(image, environment={"A": "c"})) == 2
    assert look(replace(image, memory="2g")) == 3
    assert look(image, "0:0") == 4
    engine.images.find = lambda image: "sha256:another"  # type: ignore[method-assign] # an image of the same name
    assert [look(image), look(image)] == [5, 5]


def test_what_failed_is_looked_at_again() -> None:
    engine, known = LookedAt({"image": ("begin",)}), EngineAddress(FakeEngine()).kernels_seen
    for _ in range(2):
        with pytest.raises(KernelImageError):
            find_kernels(engine, options(), USER, known=known)
    assert known == {}
    assert len(engine.configs) == 2


def test_not_everything_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_MOST_KNOWN", 3)
    known = EngineAddress(FakeEngine()).kernels_seen
    for number in range(10):
        find_kernels(LookedAt(), options(k=KernelImage("image", cpus=1 + number / 10)), USER, known=known)
        assert len(known) <= 3


def test_of_several_errors_the_first_kernels_is_told() -> None:
    engine = LookedAt({"bad": ("begin", "home writable", "end")})
    with pytest.raises(KernelImageError) as caught:
        find_kernels(engine, options(good="image", one="bad", two="bad"), USER)
    assert caught.value.kernel == "one"


def test_an_image_without_a_kernel() -> None:
    error = refused(LookedAt({"image": ("begin", "home writable", f"python none {PYTHON}", "end")}))
    assert "has no kernel" in error.message


def test_an_image_without_python() -> None:
    prints = {"image": ("begin", "home writable", "program R", "end")}
    image = KernelImage("image", argv=["R", "{connection_file}"])
    assert 'isolation="kernel"' in refused(LookedAt(prints), options(k=image)).hint
    assert find_kernels(LookedAt(prints), options("kernel", k=image), USER)["k"].python == ""


@pytest.mark.parametrize("isolation", ["environment", "kernel"])
def test_an_entrypoint_that_does_not_run_its_arguments(isolation: str) -> None:
    engine = LookedAt(exit_code=3)
    engine.raw = "\n".join(f"line {number}" for number in range(20))
    engine.on_start = lambda container: engine.change(container, entrypoint=("/entry.sh", "serve"))
    error = refused(engine, options(isolation))
    assert (
        "has the ENTRYPOINT '/entry.sh serve', which ended with exit code 3 and did not run its arguments"
        in error.message
    )
    assert "entrypoint=False" in error.hint
    assert error.output == "\n".join(f"line {number}" for number in range(10, 20))
    assert error.message.endswith("; it printed last 'line 19'")


def test_an_entrypoint_that_prints_its_arguments() -> None:
    engine = LookedAt(exit_code=0)
    engine.on_start = lambda container: engine.change(container, entrypoint=("echo",))
    engine.raw = f"I serve: sh -c {read_script('kernels/look_at_kernels.sh')} look\n"
    assert refused(engine).output == "I serve: sh -c ... look"


def test_an_entrypoint_that_does_not_end() -> None:
    engine = LookedAt(exit_code=None)
    engine.raw = "serving\n"
    engine.on_start = lambda container: engine.change(container, entrypoint=("/entry.sh",))
    error = refused(engine)
    assert "which does not end and did not run its arguments" in error.message
    assert error.output == "serving"


@pytest.mark.parametrize(
    ("printed", "exit_code"),
    [
        ("", 127),
        ("[FATAL tini (7)] exec sh failed: No such file or directory\n", 127),
        ("[FATAL tini (7)] exec /bin/sh failed: No such file or directory\n", 127),
        ("ERROR (catatonit:2): failed to exec pid1: No such file or directory\n", 1),
        ("exec container process `/bin/sh`: No such file or directory\n", 127),
    ],
)
def test_an_image_without_sh(printed: str, exit_code: int) -> None:
    engine = LookedAt(exit_code=exit_code)
    engine.raw = printed
    error = refused(engine, options(k=KernelImage("image", entrypoint=False)))
    assert "has no `sh` on its PATH" in error.message
    assert error.output == printed.strip()


def test_an_engine_that_tells_itself_that_there_is_no_sh() -> None:
    engine = LookedAt()
    for words in (
        'exec: "sh": executable file not found in $PATH',
        "crun: executable file `sh` not found in $PATH: No such file or directory",
    ):
        engine.fail("start", refusal(400, words))
        error = refused(engine)
        assert "has no `sh` on its PATH" in error.message
        assert error.output == words


@pytest.mark.parametrize("words", ["sh: 1: exec: conda: not found", "/bin/sh: conda: not found", "fish: not found"])
def test_an_entrypoint_that_finds_no_program(words: str) -> None:
    engine = LookedAt(exit_code=127)
    engine.raw = f"{words}\n"
    engine.on_start = lambda container: engine.change(container, entrypoint=("/entry.sh",))
    assert "has the ENTRYPOINT '/entry.sh'" in refused(engine).message


@pytest.mark.parametrize("told", ["printed", "raised"])
def test_an_image_for_another_processor(told: str) -> None:
    engine = LookedAt(exit_code=126)
    words = "exec sh failed: Exec format error"
    engine.raw = f"[FATAL tini (7)] {words}\n"
    if told == "raised":
        engine.fail("start", refusal(500, words))
    assert "another kind of processor" in refused(engine).message


def test_a_look_that_hangs() -> None:
    engine = LookedAt({"image": ("begin", "home writable")}, exit_code=None)
    error = refused(engine)
    assert "could not be looked into within 30 s" in error.message
    assert error.output == ""
    engine.raw = "the entrypoint's words\n"
    assert refused(engine, options(k=KernelImage("image", entrypoint=False))).output == "the entrypoint's words"


def test_a_look_that_breaks_off() -> None:
    error = refused(LookedAt({"image": ("begin", "home writable")}, exit_code=137))
    assert "exit code 137, and what it printed breaks off" in error.message


def test_a_look_that_has_too_little_memory() -> None:
    engine = LookedAt({"image": ("begin", "home writable")}, exit_code=137)
    engine.on_start = lambda container: engine.change(container, oom_killed=True)
    error = refused(engine)
    assert "the look was killed for memory" in error.message
    assert "memory=" in error.hint


def test_a_look_that_runs_nothing() -> None:
    engine = LookedAt(exit_code=2)
    engine.raw = "sh: syntax error\n"
    error = refused(engine, options(k=KernelImage("image", entrypoint=False)))
    assert "ran nothing: exit code 2" in error.message
    assert error.output == "sh: syntax error"


def test_an_engine_that_does_not_answer() -> None:
    engine = LookedAt()
    engine.fail("wait", EngineUnavailableError("gone", hint="start it", endpoint="unix:///x"))
    with pytest.raises(EngineUnavailableError):
        find_kernels(engine, options(), USER)
    assert engine.known == {}


def test_an_engine_that_refuses() -> None:
    engine = LookedAt()
    engine.fail("create", refusal(500, "no space left on device"))
    with pytest.raises(EngineError, match="no space left"):
        find_kernels(engine, options(), USER)


def test_a_limit_that_the_engine_cannot_give() -> None:
    engine = LookedAt()
    engine.fail("start", refusal(500, 'could not select device driver "" with capabilities: [[gpu]]'))
    with pytest.raises(UnsupportedOptionError, match=r'kernels\["k"\]: gpus cannot be given') as caught:
        find_kernels(engine, options(k=KernelImage("image", gpus="all")), USER)
    assert (caught.value.option, caught.value.status) == ("kernels", 500)
    assert "nvidia-smi" in caught.value.hint
    assert engine.known == {}


def test_a_limit_that_the_container_does_not_have() -> None:
    engine = LookedAt()
    engine.on_start = lambda container: engine.change(container, memory=0)
    with pytest.raises(
        OptionError, match=r'kernels\["k"\]: the engine does not enforce memory=: its kernels'
    ) as caught:
        find_kernels(engine, options(k=KernelImage("image", memory="1g")), USER)
    assert caught.value.option == "kernels"


@pytest.mark.parametrize(
    ("traits", "fields", "seen"),
    [
        ({"limits_memory": False}, {"memory": "1g"}, 'kernels["k"]: the engine does not enforce memory='),
        ({"limits_cpus": False}, {"cpus": 1}, 'kernels["k"]: the engine does not enforce cpus='),
        ({}, {"cpus": 3}, 'kernels["k"]: cpus is 3, and the engine\'s host has 2'),
    ],
)
def test_limits_that_an_engine_does_not_have(traits: dict[str, Any], fields: dict[str, Any], seen: str) -> None:
    what = options(other="image", k=KernelImage("image", **fields))
    check_kernel_limits(replace(DOCKER, cores=8, limits_memory=None, limits_cpus=None), what)
    with pytest.raises(OptionError) as caught:
        check_kernel_limits(replace(DOCKER, **traits), what)
    assert caught.value.message.startswith(seen)
    assert caught.value.option == "kernels"


def test_mounts_obey_the_rules_of_the_launcher(tmp_path: Path) -> None:
    engine = FakeEngine()
    address = EngineAddress(engine)
    (tmp_path / "roots").mkdir()
    (tmp_path / "other").mkdir()
    rules = DirectoryRules(roots=(tmp_path / "roots",))
    inside = KernelImage("image", mounts=[Mount(source=str(tmp_path / "roots"), target="/m")])
    outside = KernelImage("image", mounts=[Mount(source=str(tmp_path / "other"), target="/m")])
    check_kernel_mounts(address, options(a="image", b=inside), rules)
    with pytest.raises(PipelineDirError, match=r'kernels\["k"\]\.mounts: ') as caught:
        check_kernel_mounts(address, options(a=inside, k=outside), rules)
    assert caught.value.path == str(tmp_path / "other")


def test_no_mount_is_an_engines_socket() -> None:
    image = KernelImage("image", mounts=[Mount(source="/var/run/docker.sock", target="/docker.sock")])
    with pytest.raises(PipelineDirError, match=r'kernels\["k"\]\.mounts: .*socket'):
        check_kernel_mounts(EngineAddress(FakeEngine()), options(k=image), DirectoryRules())


def test_mount_points_in_the_pipeline_are_there_already(tmp_path: Path) -> None:
    engine = FakeEngine()
    (tmp_path / "data").mkdir()
    (tmp_path / "pipeline").mkdir()
    image = KernelImage("image", mounts=[Mount(source=str(tmp_path / "data"), target="/pipeline-dir/data")])
    address = EngineAddress(engine)
    with pytest.raises(OptionError, match=r'kernels\["k"\]: mounts has the target /pipeline-dir/data') as caught:
        check_kernel_mount_points(engine, address, options(k=image), tmp_path / "pipeline", USER)
    assert caught.value.option == "kernels"
    (tmp_path / "pipeline" / "data").mkdir()
    check_kernel_mount_points(engine, address, options(a="image", k=image), tmp_path / "pipeline", USER)
