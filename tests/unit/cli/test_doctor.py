"""What the doctor sees and says, check by check."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from jupyter_launcher import DEFAULT_IMAGE, EngineUnavailableError
from jupyter_launcher.cli import doctor
from jupyter_launcher.cli.checks import Check, CheckState
from jupyter_launcher.cli.doctor import examine
from jupyter_launcher.engine.client import DockerEngine
from jupyter_launcher.engine.traits import EngineTraits
from jupyter_launcher.spec.labels import gateway_labels, gateway_name
from jupyter_launcher.warm.mount import RefusedError
from tests.unit.cli.conftest import Run
from tests.unit.fakes import GATEWAY_TOKEN, Answer, FakeEngine, FakeJupyter, container, not_run, printed, refusal


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_SECONDS", 0.2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, 10**11))


def checks(engine: FakeEngine, **given: Any) -> dict[str, Check]:
    found = examine(lambda: cast("DockerEngine", engine), **{"image": "image", **given})
    return {check.name: check for check in found}


def states(found: dict[str, Check]) -> dict[str, str]:
    return {name: check.state.value for name, check in found.items()}


@pytest.fixture
def healthy(jupyter: FakeJupyter, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """An engine whose probes answer, with a gateway."""
    monkeypatch.setattr(doctor, "try_mount", lambda *_: "by this process")
    engine.known["g"] = container(id="g" * 64, name="gw", networks={"net": "172.18.0.2"})
    engine.run = lambda _, argv: printed("200\n{}" if argv[0] == "python3" else "")
    return engine


def test_nothing_is_wrong(healthy: FakeEngine, tmp_path: Path) -> None:
    found = checks(healthy, pipeline_dir=tmp_path, gateway="gw")
    assert states(found) == dict.fromkeys(
        [
            "engine",
            "API version",
            "limits",
            "image",
            "pipeline dir",
            "gateway",
            "free disk",
            "log",
            "write to the pipeline dir",
            "reach the gateway",
            "published port",
            "container IPs",
            "pool",
        ],
        "ok",
    )
    assert not any(check.hint for check in found.values())
    ((name, config),) = healthy.configs.items()
    assert name.startswith("jupyter-launcher-doctor.")
    assert config.network == "net"
    assert list(healthy.known) == ["g"]  # the probe is gone
    assert healthy.closed


def test_without_an_engine_there_is_nothing_to_check() -> None:
    error = EngineUnavailableError("nothing listens there", hint="start Docker")

    def fail() -> DockerEngine:
        raise error

    first, last = list(examine(fail))
    assert (first.name, first.state, first.detail, first.hint) == (
        "engine",
        CheckState.FAILED,
        "nothing listens there",
        "start Docker",
    )
    assert last.state is CheckState.SKIPPED


def test_an_engine_that_stops_answering(healthy: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    error = EngineUnavailableError("gone", hint="look")

    def fail(_: object) -> EngineTraits:
        raise error

    del healthy.traits
    monkeypatch.setattr(FakeEngine, "traits", property(fail), raising=False)
    assert states(checks(healthy)) == {
        "engine": "failed",
        "image": "ok",
        "free disk": "failed",
        "log": "failed",
        "published port": "ok",
        "container IPs": "failed",
        "pool": "ok",
    }


@pytest.mark.parametrize(
    ("traits", "told"),
    [
        ({"rootless": False}, "rootful"),
        ({"rootless": True, "remapped": True}, "rootless, its user ids are remapped"),
        ({"rootless": False, "desktop": True, "same_kernel": False}, "Docker Desktop, with a kernel of its own"),
        ({"rootless": None}, "whether it has root is not known"),
    ],
)
def test_the_kind_of_an_engine(healthy: FakeEngine, traits: dict[str, Any], told: str) -> None:
    healthy.traits = replace(healthy.traits, **traits)
    assert checks(healthy)["engine"].detail.endswith(told)


@pytest.mark.parametrize(
    ("traits", "state", "told"),
    [
        ({"cgroup_version": "2"}, CheckState.OK, "control groups v2, enforced: memory, cpus, processes"),
        (
            {"cgroup_version": "1", "limits_memory": False, "limits_cpus": False, "limits_pids": None},
            CheckState.WARNING,
            "control groups v1, not enforced: memory, cpus; not told: processes",
        ),
        (
            {"limits_memory": None, "limits_cpus": None, "limits_pids": None},
            CheckState.SKIPPED,
            "the engine does not tell",
        ),
    ],
)
def test_the_limits_that_an_engine_enforces(
    healthy: FakeEngine, traits: dict[str, Any], state: CheckState, told: str
) -> None:
    healthy.traits = replace(healthy.traits, **traits)
    found = checks(healthy)["limits"]
    assert (found.state, found.detail) == (state, told)


def test_an_engine_that_may_not_be_asked_what_it_is(healthy: FakeEngine) -> None:
    assert "information" not in checks(healthy)
    healthy.traits = EngineTraits(version="28.5.1", name="Docker", api_version="1.51")
    found = checks(healthy)
    assert found["information"].state is CheckState.WARNING
    assert "INFO=1" in found["information"].hint
    assert found["published port"].state is CheckState.OK


@pytest.mark.parametrize("status", [403, 501])
def test_a_log_that_cannot_be_read(healthy: FakeEngine, status: int) -> None:
    healthy.traits = replace(healthy.traits, log_driver="none")
    healthy.fail("logs", refusal(status, "no"))
    found = checks(healthy)["log"]
    assert found.state is (CheckState.WARNING if status == 501 else CheckState.FAILED)
    assert found.hint


def test_container_ips_that_are_not_reached(healthy: FakeEngine) -> None:
    healthy.traits = replace(healthy.traits, rootless=True)
    found = checks(healthy)["container IPs"]
    assert (found.state, "not reached" in found.detail) == (CheckState.OK, True)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (RefusedError(81, "so it is"), CheckState.WARNING),
        (refusal(403, "so it is"), CheckState.WARNING),
        (EngineUnavailableError("so it is", hint="look"), CheckState.FAILED),
    ],
)
def test_a_pool_that_cannot_mount(
    healthy: FakeEngine, monkeypatch: pytest.MonkeyPatch, error: Exception, state: CheckState
) -> None:
    def refuse(*_: object) -> str:
        raise error

    monkeypatch.setattr(doctor, "try_mount", refuse)
    found = checks(healthy)["pool"]
    assert (found.state, "so it is" in found.detail) == (state, True)
    assert found.hint


def test_a_pool_where_the_probe_has_ended(healthy: FakeEngine) -> None:
    found = doctor._check_pool(healthy, "no such container")
    assert found.state is CheckState.SKIPPED


@pytest.mark.parametrize(("call", "left"), [("create", 0), ("remove", 1)])
def test_after_a_refusal_the_checks_go_on(healthy: FakeEngine, call: str, left: int) -> None:
    healthy.fail(call, refusal(403, "no"))
    found = checks(healthy)
    assert (found["container"].state, found["image"].state) == (CheckState.FAILED, CheckState.OK)
    assert len(set(healthy.known) - {"g"}) == left


def test_an_image_that_may_not_be_looked_at(healthy: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> str:
        raise refusal(403, "no")

    monkeypatch.setattr(healthy.images, "find", fail)
    found = checks(healthy)
    assert (found["image"].state, found["published port"].state) == (CheckState.FAILED, CheckState.OK)


def test_an_engine_that_labels_files(healthy: FakeEngine) -> None:
    assert "SELinux" not in checks(healthy)
    healthy.traits = replace(healthy.traits, selinux=True)
    found = checks(healthy)["SELinux"]
    assert found.state is CheckState.WARNING
    assert "pipeline_relabel='z'" in found.hint


def test_an_engine_that_writes_down_what_it_is_asked(healthy: FakeEngine) -> None:
    assert "debug mode" not in checks(healthy)
    healthy.traits = replace(healthy.traits, debug=True)
    assert checks(healthy)["debug mode"].state is CheckState.WARNING


def test_an_old_engine(healthy: FakeEngine) -> None:
    healthy.traits = replace(healthy.traits, api_version="1.40")
    found = checks(healthy)["API version"]
    assert (found.state, found.hint) == (CheckState.FAILED, "update Docker to 20.10 or newer")


@pytest.mark.parametrize(
    ("image", "way"), [(DEFAULT_IMAGE, "`jupyter-launcher build` makes it"), ("theirs", "`docker pull theirs`")]
)
def test_an_image_that_is_not_there(healthy: FakeEngine, image: str, way: str) -> None:
    healthy.images.known.clear()
    found = checks(healthy, image=image)
    assert found["image"].state is CheckState.WARNING
    assert found["image"].hint.startswith(way)
    assert found["from inside a container"].state is CheckState.SKIPPED
    assert found["free disk"].state is CheckState.OK  # on this machine
    assert healthy.configs == {}


@pytest.mark.parametrize(
    ("free", "state"), [(10**11, CheckState.OK), (10**9, CheckState.WARNING), (10**8, CheckState.FAILED)]
)
def test_the_free_disk(healthy: FakeEngine, monkeypatch: pytest.MonkeyPatch, free: int, state: CheckState) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, free))
    assert checks(healthy)["free disk"].state is state


DF = "Filesystem 1024-blocks Used Available Capacity Mounted on\n{} 264212084 49654768 {} 47% /\n"


@pytest.mark.parametrize("system", ["overlay", "a file system"])
@pytest.mark.parametrize(
    ("blocks", "state"), [(10**8, CheckState.OK), (10**6, CheckState.WARNING), (10**5, CheckState.FAILED)]
)
def test_the_free_disk_is_the_one_that_a_container_sees(
    healthy: FakeEngine, system: str, blocks: int, state: CheckState
) -> None:
    healthy.traits = replace(healthy.traits, same_kernel=False)
    answering(healthy, printed(DF.format(system, blocks)))
    found = checks(healthy)["free disk"]
    assert (found.state, found.detail) == (state, f"{blocks * 1024 / 1e9:.1f} GB at the engine")


@pytest.mark.parametrize("answer", [printed("", 127), printed("odd"), printed(DF.format("overlay", 5), 1)])
def test_where_no_container_tells_the_free_disk_this_machine_does(healthy: FakeEngine, answer: Answer) -> None:
    answering(healthy, answer)
    assert checks(healthy)["free disk"].detail == "100.0 GB at /var/lib/docker"


@pytest.mark.parametrize("traits", [{"data_root": None}, {"same_kernel": False}, {"same_kernel": None}])
def test_a_disk_that_is_not_on_this_machine(healthy: FakeEngine, traits: dict[str, Any]) -> None:
    healthy.traits = replace(healthy.traits, **traits)
    assert checks(healthy)["free disk"].state is CheckState.SKIPPED


def test_a_disk_that_may_not_be_read(healthy: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(shutil, "disk_usage", refused)
    assert checks(healthy)["free disk"].state is CheckState.SKIPPED


def test_what_cannot_be_found_is_said_and_the_rest_is_checked(healthy: FakeEngine, tmp_path: Path) -> None:
    found = checks(healthy, pipeline_dir=tmp_path / "none", gateway="nowhere")
    assert (found["pipeline dir"].state, found["gateway"].state) == (CheckState.FAILED, CheckState.FAILED)
    assert "does not exist" in found["pipeline dir"].detail
    assert "create it first" in found["pipeline dir"].hint
    assert found["published port"].state is CheckState.OK
    assert not {"write to the pipeline dir", "reach the gateway"} & set(found)


def answering(engine: FakeEngine, answer: Answer) -> None:
    engine.run = lambda *_: answer


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (printed("", 1, "sh: can't create /pipeline-dir/x: Permission denied"), "can't: Permission denied"),
        (printed("", 1), "can't: exit code 1"),
        (not_run("it did not run"), "it did not run"),
    ],
)
def test_a_pipeline_dir_that_cannot_be_written(
    healthy: FakeEngine, tmp_path: Path, answer: Answer, detail: str
) -> None:
    answering(healthy, answer)
    found = checks(healthy, pipeline_dir=tmp_path)["write to the pipeline dir"]
    assert found.state is CheckState.FAILED
    assert detail in found.detail
    assert found.hint


@pytest.mark.parametrize(
    ("answer", "state", "detail"),
    [
        (printed("403\n{}"), CheckState.WARNING, "wants a token (HTTP 403)"),
        (printed("401\n{}"), CheckState.WARNING, "wants a token (HTTP 401)"),
        (printed("500\n{}"), CheckState.FAILED, "HTTP 500"),
        (printed("", 1, "Traceback\nconnection refused\n"), CheckState.FAILED, ": connection refused"),
        (printed("", 127), CheckState.FAILED, ": exit code 127"),
    ],
)
def test_a_gateway_that_is_not_reached(healthy: FakeEngine, answer: Answer, state: CheckState, detail: str) -> None:
    answering(healthy, answer)
    found = checks(healthy, gateway="gw")["reach the gateway"]
    assert found.state is state
    assert detail in found.detail
    assert found.hint


def test_a_gateway_of_ours_is_asked_with_its_token(healthy: FakeEngine) -> None:
    name = gateway_name("unit", "0" * 12)
    healthy.known["g"] = replace(healthy.known["g"], name=name, labels=gateway_labels("unit", "", ""))
    run = healthy.run
    assert run is not None
    healthy.run = lambda found, argv: printed(GATEWAY_TOKEN) if "read" in argv else run(found, argv)
    assert checks(healthy, gateway=name)["reach the gateway"].state is CheckState.OK
    assert {"KG_AUTH_TOKEN": GATEWAY_TOKEN} in healthy.environments


def test_a_network_that_publishes_nothing(healthy: FakeEngine) -> None:
    healthy.port = None
    found = checks(healthy, network="internal")["published port"]
    assert (found.state, found.detail) == (CheckState.FAILED, "the network publishes none")


def test_a_port_at_which_nobody_answers(healthy: FakeEngine) -> None:
    healthy.port = 1
    found = checks(healthy)["published port"]
    assert found.state is CheckState.FAILED
    assert "did not answer within 0.2 s" in found.detail


def test_a_probe_that_cannot_be_started_says_what_the_engine_said(healthy: FakeEngine) -> None:
    healthy.fail("start", refusal(404, "no such network"))
    found = checks(healthy, network="nowhere")["container"]
    assert (found.state, found.detail, found.hint) == (CheckState.FAILED, "no such network", "see why")
    assert list(healthy.known) == ["g"]


def command(run: Run, *line: str) -> tuple[int, str]:
    ended = run("doctor", "--image", "image", *line)
    return ended.exit_code, ended.stdout


@pytest.mark.usefixtures("healthy")
def test_the_command_prints_each_check(run: Run) -> None:
    code, shown = command(run)
    assert code == 0
    assert "ok        image: image" in shown.splitlines()


def test_the_command_says_what_to_fix_and_fails(run: Run, healthy: FakeEngine) -> None:
    healthy.port = None
    code, shown = command(run)
    assert code == 1
    assert "failed    published port: the network publishes none" in shown
    assert "          to fix: use a bridge network" in shown


def test_the_command_as_a_document(run: Run, healthy: FakeEngine) -> None:
    healthy.port = None
    code, shown = command(run, "--format", "json")
    assert code == 1
    by_name = {item["name"]: item for item in json.loads(shown)}
    assert set(by_name["published port"]) == {"name", "state", "detail", "hint"}
    assert by_name["published port"]["state"] == "failed"


def test_the_command_has_the_rules_of_a_start(run: Run, healthy: FakeEngine, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    healthy.images.known.add(DEFAULT_IMAGE)
    healthy.endpoint = f"unix://{folder}/engine.sock"
    found = {
        line: run("doctor", folder, *line.format(folder=folder, outer=tmp_path).split()).stdout
        for line in ("", "--allow-engine-socket --root {folder}", "--allow-engine-socket --root {outer} --user 7:8")
    }
    refused, outside, allowed = found.values()
    assert "is or holds the engine's socket" in refused
    assert "is not below a root of this launcher" in outside
    assert f"ok        pipeline dir: {folder}, the server will run as 7:8" in allowed


def test_checks_come_one_by_one(healthy: FakeEngine) -> None:
    found = examine(lambda: cast("DockerEngine", healthy), image="image")
    assert [next(found).name for _ in range(4)] == ["engine", "API version", "limits", "image"]
    assert healthy.configs == {}  # the probe comes later
    assert next(found).name == "free disk"


def test_the_container_is_removed_when_the_checks_are_left_before_their_end(healthy: FakeEngine) -> None:
    known = set(healthy.known)
    found = examine(lambda: cast("DockerEngine", healthy), image="image", gateway="gw")
    while next(found).name != "reach the gateway":
        pass
    assert set(healthy.known) > known
    found.close()
    assert set(healthy.known) == known
