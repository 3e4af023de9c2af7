"""Messages that name options as the command spells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_launcher import KernelImageError, LauncherError, OptionError
from jupyter_launcher.cli.checks import from_error
from jupyter_launcher.cli.spelling import respell
from tests.unit.cli.conftest import Run


@pytest.mark.parametrize(
    ("text", "respelled"),
    [
        ("give network= one of them", "give --network one of them"),
        ("give network=NAME to sessions", "give --network NAME to sessions"),
        ("start with another user=", "start with another --user"),
        ('start with user="0:0" if that is meant', "start with --user 0:0 if that is meant"),
        ("pipeline_relabel='z'", "--pipeline-relabel z"),
        ("pipeline_read_only=True", "--pipeline-read-only"),
        ("give unsafe=True if that is meant", "give --unsafe if that is meant"),
        ("tune=True or tune=False", "--tune or --no-tune"),
        ("it has read_only=False", "it has no --read-only"),
        ("give environment={'NAME': ...}", "give --env NAME=..."),
        ("raise timeouts.start if it only needs longer", "raise --timeout start= if it only needs longer"),
        ("see lab_args and the image", "see --lab-arg and the image"),
        ("by leaving host_port (or its number in ports) out", "by leaving --port (or its number in ports) out"),
        ("take another session_id", "take another --session-id"),
        (
            "runs with: memory was 5, now 6; lab_args was [], now ['x']",
            "runs with: --memory was 5, now 6; --lab-arg was [], now ['x']",
        ),
        ("Launcher(allow_engine_socket=True) lets this through", "--allow-engine-socket lets this through"),
        ("the engine does not enforce memory=: the session", "the engine does not enforce --memory: the session"),
        ('kernels["torch"].shm_size is 5', "--kernel torch: shm-size is 5"),
        ('kernels["torch"].cpus is 5, and memory=1g', "--kernel torch: cpus is 5, and --memory 1g"),
        ('kernels["torch"] is 5; give kernels= a name', "--kernel torch is 5; give --kernel a name"),
        ("runs with: kernels['py'] was {'image': 'x'}", "runs with: --kernel py was {'image': 'x'}"),
        ("isolation='kernel' needs engine_socket=", "--isolation kernel needs --engine-socket"),
        ("give Launcher(engine_socket=...), its path", "give --engine-socket, its path"),
        ("runs with: max_kernels was 5, now 6", "runs with: --max-kernels was 5, now 6"),
        # What is no option stays.
        ("/data/user=5 and /host_port/x", "/data/user=5 and /host_port/x"),
        ("the image and its memory, user 5, a network", "the image and its memory, user 5, a network"),
        ("https://x.example/?gateway=a", "https://x.example/?gateway=a"),
        ("no `user=` here, nor 'cpus'", "no `user=` here, nor 'cpus'"),
    ],
)
def test_texts(text: str, respelled: str) -> None:
    error = LauncherError(text, hint=text)
    respell(error)
    assert (error.message, error.hint) == (respelled, respelled)


def test_the_option_that_an_error_is_about() -> None:
    for option, respelled in (
        ("memory", "--memory is 5"),
        ("tune", "--tune is 5"),
        ("docker_host", "docker_host is 5"),
    ):
        error = OptionError(f"{option} is 5", hint="see it", option=option)
        respell(error)
        assert (error.message, error.option) == (respelled, option)
    other = OptionError("the memory is 5", hint="see it", option="memory")
    respell(other)
    assert other.message == "the memory is 5"


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (["--memory=much"], "--memory is 'much'"),
        (["--kernel=py=x,memory=much"], "--kernel py: memory is 'much'"),
        (["--kernel=py=x,env=KERNEL_A=b"], "--kernel py: env sets 'KERNEL_A'"),
        (["--kernel=py=x,argv=python3 k.py"], "python3', '-m', 'ipykernel_launcher', '-f', '{connection_file}']"),
        (["--kernel=.=x"], "--kernel has the name '.'"),
        (["--max-kernels=4"], "--max-kernels is given without kernels, and is for them alone; give --kernel"),
        (["--container-option=Memory=5"], "--container-option has Memory, which the launcher holds; give --memory"),
        (["--container-option=Privileged=true"], "give --unsafe if that is meant"),
        (["--publish=6006", "--publish=6006/tcp"], "; give --publish [HOST:]PORT[/udp]"),
        (["--add-host=db=there"], "; give --add-host NAME=ADDRESS"),
        (["--tmpfs=/x=0"], "--tmpfs has '/x': '0'; give --tmpfs PATH=SIZE"),
        (["--publish=8888"], "--publish has 8888, which is the server's; give --port"),
    ],
)
def test_the_command_speaks_of_its_own_options(run: Run, tmp_path: Path, line: list[str], seen: str) -> None:
    ended = run("start", tmp_path, *line)
    assert ended.exit_code == 2
    assert seen in ended.stderr


@pytest.mark.parametrize(
    ("text", "respelled"),
    [
        ('kernels["t"]: the engine enforces no memory= here', "--kernel t: the engine enforces no memory= here"),
        ('kernels["t"]: cpus is 99, see shm_size', "--kernel t: cpus is 99, see shm-size"),
        ("give KernelImage(entrypoint=False), or argv=", "give entrypoint=false, or argv="),
        ("give KernelImage(argv=...) if there is one", "give argv=... if there is one"),
        ("pull it, or raise timeouts.start", "pull it, or raise --timeout start="),
    ],
)
def test_fields_of_a_kernel_are_no_options(text: str, respelled: str) -> None:
    for error in (OptionError(text, hint=text, option="kernels"), KernelImageError(text, hint=text)):
        respell(error)
        assert (error.message, error.hint) == (respelled, respelled)


def test_the_doctor_speaks_of_them_too() -> None:
    check = from_error("network", OptionError("network is 5", hint="give network= a name", option="network"))
    assert (check.detail, check.hint) == ("--network is 5", "give --network a name")
