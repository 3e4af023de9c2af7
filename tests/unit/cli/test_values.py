"""The options of ``start``: how the command's words become values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import KernelImage, Mount, OptionError, Secret, Timeouts, Volume
from jupyter_launcher.cli.start import start
from jupyter_launcher.cli.values import read_options
from jupyter_launcher.spec.options import SPELLINGS
from tests.unit.cli.conftest import Run
from tests.unit.fakes import FakeEngine, FakeJupyter

ALL: list[tuple[str, object]] = [
    ("--session-id=one", "one"),
    ("--image=image", "image"),
    ("--pull=never", "never"),
    ("--user=0:0", "0:0"),
    ("--gateway=gw", "gw"),
    ("--kernel=py=team/py:7", {"py": "team/py:7"}),
    ("--isolation=kernel", "kernel"),
    ("--max-kernels=4", 4),
    ("--kernel-idle=600", 600),
    ("--network=net", "net"),
    ("--host-ip=127.0.0.2", "127.0.0.2"),
    ("--port=7000", 7000),
    ("--publish=7001:6006", {"6006": 7001}),
    ("--add-host=db=10.0.0.1", {"db": "10.0.0.1"}),
    ("--base-url=/x", "/x"),
    ("--allow-origin=https://a.example", "https://a.example"),
    ("--group-add=2000", ["2000"]),
    ("--umask=0002", "0002"),
    ("--env=A=b=c", {"A": "b=c"}),
    ("--secret=KEY", {"KEY": "s3cret"}),
    ("--mount=source=/a,target=/b", [Mount(source="/a", target="/b")]),
    ("--home=volume:alice", Volume("alice")),
    (f"--token-file={__file__}", Secret(Path(__file__).read_text(encoding="utf-8").strip())),
    ("--tmpfs=/scratch=1m", {"/scratch": "1m"}),
    ("--pipeline-relabel=z", "z"),
    ("--pipeline-read-only", True),
    ("--memory=1g", "1g"),
    ("--cpus=1.5", 1.5),
    ("--shm-size=1m", "1m"),
    ("--gpus=all", "all"),
    ("--read-only", True),
    ("--no-tune", False),
    ("--lease=60", 60),
    ("--idle-timeout=1800", 1800),
    ("--idle-kernel-timeout=600", 600),
    ("--log-size=none", None),
    ("--label=team=blue", {"team": "blue"}),
    ("--lab-arg=--X.y=z", ["--X.y=z"]),
    ("--no-entrypoint", False),
    ("--container-option=PidsLimit=500", {"PidsLimit": 500}),
    ("--unsafe", True),
    ("--constraint=node.hostname==node2", ["node.hostname==node2"]),
    ("--timeout=start=120", Timeouts(start=120.0)),
]


def read(*line: str) -> dict[str, Any]:
    """What a line of options gives ``Launcher.start``."""
    params = start.make_context("start", [*line, "DIR"]).params
    return read_options({name: value for name, value in params.items() if name in SPELLINGS})


def test_every_option_of_start_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "s3cret")
    found = read(*(word for word, _ in ALL))
    assert found == dict(zip(SPELLINGS, (value for _, value in ALL), strict=True))
    assert read() == {}


def test_options_that_are_given_more_than_once(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"two\nlines\n")
    assert read("--publish=6006", "--publish=7001:5000/udp") == {"ports": {"6006": None, "5000/udp": 7001}}
    assert read(f"--secret=a={tmp_path}/key") == {"secrets": {"a": "two\nlines\n"}}
    assert read("--timeout=start=1", "--timeout=engine=2") == {"timeouts": Timeouts(start=1.0, engine=2.0)}
    assert read("--mount=type=volume,src=v1,dst=/v,readonly", '--mount="source=/a,b",target=/c,propagation=rslave') == {
        "mounts": [
            Mount(type="volume", source="v1", target="/v", read_only=True),
            Mount(source="/a,b", target="/c", propagation="rslave"),
        ]
    }
    assert read("--mount=source=/a,target=/b,readonly=false") == {"mounts": [Mount(source="/a", target="/b")]}
    assert read('--container-option=Dns=["10.0.0.1"]', '--container-option=Hostname="lab"') == {
        "container_options": {"Dns": ["10.0.0.1"], "Hostname": "lab"}
    }


def test_a_kernel_with_all_that_it_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "s3cret")
    more = [
        "memory=8g,cpus=1.5,shm-size=1g,entrypoint=false,display-name=Torch 2",
        "env=A=b=c,env=KEY",
        "mount=/data:/in:ro,mount=cache:/cache",
        '"gpus=device=0,3","argv=python3 -m \'a kernel\' -f {connection_file}"',
    ]
    found = read(f"--kernel=torch=host:5000/team/torch@sha256:0,{','.join(more)}", "--kernel=py=team/py:7")
    assert found == {
        "kernels": {
            "torch": KernelImage(
                "host:5000/team/torch@sha256:0",
                memory="8g",
                cpus=1.5,
                shm_size="1g",
                entrypoint=False,
                display_name="Torch 2",
                environment={"A": "b=c", "KEY": "s3cret"},
                mounts=[
                    Mount(source="/data", target="/in", read_only=True),
                    Mount(source="cache", target="/cache", type="volume"),
                ],
                gpus=("0", "3"),
                argv=["python3", "-m", "a kernel", "-f", "{connection_file}"],
            ),
            "py": "team/py:7",
        }
    }
    assert read("--kernel=py=x,entrypoint=true,mount=/a:/b:rw") == {
        "kernels": {"py": KernelImage("x", entrypoint=True, mounts=[Mount(source="/a", target="/b")])}
    }


@pytest.mark.parametrize(
    ("word", "value"), [("2", 2), ("device=0,3", ("0", "3")), ("GPU-1,GPU-2", ("GPU-1", "GPU-2")), ("x=y", ("x=y",))]
)
def test_gpus(word: str, value: object) -> None:
    assert read(f"--gpus={word}") == {"gpus": value}
    assert read(f"--gpus={'9' * 5000}") == {"gpus": ("9" * 5000,)}


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (["--publish=x:6006"], "--publish is 'x:6006'"),
        (["--publish=999999:6006"], "--publish is"),
        (["--publish=6006", "--publish=1:6006"], "--publish is"),
        (["--add-host=db"], "--add-host is 'db'"),
        (["--env=A=1", "--env=A=2"], "--env has 'A' twice"),
        (["--env=JL_NOT_THERE"], "--env is 'JL_NOT_THERE', and this environment has no such variable"),
        (["--secret=JL_NOT_THERE"], "--secret is"),
        (["--secret=a=/not/there"], "--secret cannot be read from '/not/there'"),
        (["--mount=/a:/b"], "--mount has '/a:/b'"),
        (["--mount=source=/a"], "--mount is"),
        (["--mount=source=/a,source=/b,target=/c"], "--mount has 'source=/b'"),
        (["--mount=source=/a,target=/c,readonly=maybe"], "--mount has"),
        (["--mount="], "--mount is ''"),
        (["--mount=source=/a\nb,target=/c"], "--mount is "),
        (["--kernel=py"], "--kernel is 'py'"),
        (["--kernel==x"], "--kernel is '=x'"),
        (["--kernel=py="], "--kernel is 'py='"),
        (["--kernel=py=,memory=1g"], "--kernel is 'py=,memory=1g'"),
        (["--kernel=py=a\nb,c"], "--kernel is "),
        (["--kernel=py=x", "--kernel=py=y"], "--kernel has 'py' twice"),
        (["--kernel=py=x,memori=1g"], "--kernel py has 'memori=1g'"),
        (["--kernel=py=x,memory"], "--kernel py has 'memory'"),
        (["--kernel=py=x,memory=1g,memory=2g"], "--kernel py has 'memory=2g'"),
        (["--kernel=py=x,entrypoint=maybe"], "--kernel py has 'entrypoint=maybe'"),
        (["--kernel=py=x,cpus=many"], "--kernel py has cpus='many'"),
        (["--kernel=py=x,argv=a 'b"], '--kernel py has argv="a \'b": No closing quotation'),
        (["--kernel=py=x,env=JL_NOT_THERE"], "--kernel is 'JL_NOT_THERE', and this environment"),
        (["--kernel=py=x,mount=/a"], "--kernel py has mount '/a'"),
        (["--kernel=py=x,mount=/a:/b:rx"], "--kernel py has mount '/a:/b:rx'"),
        (["--home=volume:a/b"], "--home is 'volume:a/b'"),
        (["--container-option=Dns=[10"], "--container-option has 'Dns'"),
        (["--timeout=begin=1"], "--timeout has 'begin'"),
        (["--timeout=start=soon"], "--timeout has 'soon' for start"),
        (["--timeout=start=-1"], "timeouts.start is -1.0"),
    ],
)
def test_words_that_cannot_be_read(line: list[str], seen: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(*line)
    assert caught.value.message.startswith(seen)
    assert caught.value.option in SPELLINGS
    assert caught.value.hint


def test_a_file_of_a_secret_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"s3cret\xff")
    with pytest.raises(OptionError, match="no text in UTF-8") as caught:
        read(f"--secret=a={tmp_path}/key")
    assert caught.value.__cause__ is None
    assert "s3cret" not in repr(caught.value.__context__)


def test_a_start_with_options_of_many_kinds(run: Run, engine: FakeEngine, jupyter: FakeJupyter, tmp_path: Path) -> None:
    line = ["--session-id=one", "--publish=7001:6006", "--add-host=db=10.0.0.1", "--env=A=b", "--umask=0002"]
    ended = run(
        "start", tmp_path, *line, "--mount=type=volume,source=cache,target=/v", "--container-option=PidsLimit=9"
    )
    assert ended.exit_code == 0
    assert "port 6006/tcp   127.0.0.1:7001" in ended.stdout
    assert "stop it with: jupyter-launcher --namespace unit stop one" in ended.stderr
    config = engine.configs["jupyter-server.unit.one"]
    assert (config.ports, config.extra_hosts, config.environment) == (
        {"6006/tcp": 7001},
        {"db": "10.0.0.1"},
        {"A": "b"},
    )
    assert (config.engine_options, config.mounts[1].type) == ({"PidsLimit": 9}, "volume")
    assert "os.umask(0o0002)" in " ".join(jupyter.script_of_start)
