"""What a user sees of a kernel in a container: its Python, its restart, its interrupt, and its end."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any, TypeAlias

import nbformat
import pytest

from jupyter_launcher import DEFAULT_IMAGE, KernelDiedError, KernelImage, Launcher, WorkError
from tests.containers import eventually, log_of
from tests.kernels.client import Kernels
from tests.kernels.conftest import RunGateway, parts_of

Images: TypeAlias = dict[str, str | KernelImage]
HOG = "kept = bytearray(700 * 2**20)\nprint(len(kept))"
INSTALL = """
import pathlib, site
folder = pathlib.Path(site.getusersitepackages())
folder.mkdir(parents=True, exist_ok=True)
(folder / "installed_here.py").write_text("answer = 42")
pathlib.Path("/tmp/file").write_text("kept")
x = 1
"""
BEGAN = "import pathlib\ndef began(): pathlib.Path('began').touch()\nx = 42"
SLEEPS = {
    "a cell": "began(); import time; time.sleep(60)",
    "a shell escape": "!touch began; sleep 60",
    "a call of system": "import os; os.system('touch began; sleep 60')",
    "a child process": "import subprocess; subprocess.run(['sh', '-c', 'touch began; sleep 60'])",
    "a cell of another language": "%%sh\ntouch began; sleep 60",
}


def test_one_notebook_in_two_environments(
    launcher: Launcher, pipeline_dir: Path, isolation: Any, python_311: str
) -> None:
    """Each has its own Python, and both write the same folder as its owner."""
    code = "import sys; print(sys.version_info[:2]); open(f'{sys.version_info[1]}.txt', 'w').close()"
    (pipeline_dir / "sub").mkdir(mode=0o777)
    (pipeline_dir / "sub").chmod(0o777)
    kernels = {"py313": DEFAULT_IMAGE, "py311": python_311}
    with launcher.start(pipeline_dir, kernels=kernels, isolation=isolation) as session:
        specs = session.request("GET", "api/kernelspecs").json()["kernelspecs"]
        assert set(specs) == set(kernels)
        texts = {}
        for name in kernels:
            cells = [nbformat.v4.new_code_cell(code)]
            metadata = {"kernelspec": {"name": name, "display_name": name, "language": "python"}}
            nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), pipeline_dir / "sub/one.ipynb")
            result = session.run_notebook("sub/one.ipynb")
            texts[name] = result.notebook["cells"][0]["outputs"][0]["text"].strip()
        assert texts == {"py313": "(3, 13)", "py311": "(3, 11)"}
    owner = pipeline_dir.stat()
    for name in ("13.txt", "11.txt"):
        written = (pipeline_dir / "sub" / name).stat()
        assert (written.st_uid, written.st_gid) == (owner.st_uid, owner.st_gid)


def test_a_restart_keeps_what_was_installed(run_gateway: RunGateway, isolation: Any) -> None:
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation=isolation))
    kernel = kernels.start("py")
    assert kernels.run(kernel, INSTALL).status == "ok"
    kernels.restart(kernel)
    look = "import installed_here; print(installed_here.answer, open('/tmp/file').read(), 'x' in globals())"
    assert kernels.printed(kernel, look) == "42 kept False"


def test_a_kernel_whose_container_was_removed_is_made_anew(
    run_gateway: RunGateway, client: Any, namespace: str
) -> None:
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation="kernel"))
    kernel = kernels.start("py")
    (container,) = parts_of(client, namespace, "kernel")
    container.remove(force=True)

    def made_anew() -> bool:
        return [item.id for item in parts_of(client, namespace, "kernel") if item.status == "running"] != []

    assert eventually(made_anew, 60)
    assert kernels.ids() == {kernel}
    assert kernels.printed(kernel, "print(6 * 7)") == "42"


@pytest.mark.parametrize("name", SLEEPS)
def test_what_runs_is_interrupted(
    run_gateway: RunGateway, pipeline_dir: Path, isolation: Any, name: str, python_311: str
) -> None:
    """The way is another one for each of the two: a message, or a signal."""
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE, "py311": python_311}, isolation=isolation))
    for spec in ("py", "py311"):
        kernel = kernels.start(spec)
        with kernels.connect(kernel) as channels:
            assert channels.run(BEGAN).status == "ok"
            request = channels.execute(SLEEPS[name])
            assert eventually((pipeline_dir / "began").exists), spec
            kernels.interrupt(kernel)
            channels.reply(request, 30)  # half of what it sleeps
            assert channels.run("print(x)").text == "42\n"
        (pipeline_dir / "began").unlink()


def test_input_is_asked_for(run_gateway: RunGateway, isolation: Any) -> None:
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation=isolation))
    with kernels.connect(kernels.start("py")) as channels:
        printed = ""
        for message in channels.messages(channels.execute("print('got', input('? '))", asks=True)):
            if message["msg_type"] == "input_request":
                assert message["content"]["prompt"] == "? "
                channels.send("input_reply", {"value": "an answer"}, "stdin")
            if message["msg_type"] == "stream":
                printed += message["content"]["text"]
        assert printed == "got an answer\n"


def test_forty_megabytes_of_output_come_as_they_were_printed(
    launcher: Launcher, pipeline_dir: Path, isolation: Any
) -> None:
    with launcher.start(pipeline_dir, kernels={"py": DEFAULT_IMAGE}, isolation=isolation) as session:
        result = session.execute("for number in range(40): print(str(number) * 10 + 'x' * 10**6)")
        lines = result.text.splitlines()
        assert not result.truncated
        assert [line.rstrip("x") for line in lines] == [str(number) * 10 for number in range(40)]
        assert {line.count("x") for line in lines} == {10**6}


@pytest.mark.parametrize("source", ["session", "gateway"])
def test_a_kernel_that_ends_at_once_is_told_with_its_code_and_its_words(
    launcher: Launcher, run_gateway: RunGateway, pipeline_dir: Path, isolation: Any, source: str
) -> None:
    argv = ["sh", "-c", "echo there is nothing here >&2; exit 7", "{connection_file}"]
    kernels: Images = {"broken": KernelImage(DEFAULT_IMAGE, argv=argv), "py": DEFAULT_IMAGE}
    if source == "gateway":
        gateway = Kernels(run_gateway(kernels, isolation=isolation))
        answer = gateway.ask("POST", "kernels", {"name": "broken"})
        assert answer.status_code == 500
        told = answer.text
        assert gateway.ids() == set()
        assert gateway.printed(gateway.start("py"), "print(6 * 7)") == "42"
    else:
        with launcher.start(pipeline_dir, kernels=kernels, isolation=isolation) as session:
            with pytest.raises(WorkError) as caught, session.kernel("broken"):
                pytest.fail("it runs")
            told = str(caught.value)
    assert re.search(r"\b7\b", told)
    assert "there is nothing here" in told


def test_a_kernel_killed_for_memory_is_told(
    launcher: Launcher, pipeline_dir: Path, isolation: Any, client: Any, namespace: str
) -> None:
    if launcher._engine.traits.limits_memory is False:
        pytest.skip("the engine does not limit memory")
    kernels = {"small": KernelImage(DEFAULT_IMAGE, memory="256m")}
    with launcher.start(pipeline_dir, kernels=kernels, isolation=isolation) as session:
        with session.kernel("small") as kernel, pytest.raises(KernelDiedError) as caught:
            kernel.execute(HOG)
        assert caught.value.for_memory is True
        assert "memory" in str(caught.value)
        (gateway,) = client.containers.list(
            filters={"label": f"jupyter-launcher.gateway-of={namespace}"}, ignore_removed=True
        )
        assert eventually(lambda: "memory" in log_of(gateway))


def test_kernels_end_that_have_run_nothing_for_long(run_gateway: RunGateway, client: Any, namespace: str) -> None:
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation="kernel", kernel_idle=5))
    kernel = kernels.start("py")
    with kernels.connect(kernel):  # a page that is open does not keep it
        assert eventually(lambda: kernels.ids() == set(), 60)
    assert eventually(lambda: parts_of(client, namespace, "kernel") == [])


def test_starts_at_once_do_not_pass_the_limit(
    run_gateway: RunGateway, isolation: Any, client: Any, namespace: str
) -> None:
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation=isolation, max_kernels=3))
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(kernels.ask("POST", "kernels", {"name": "py"})))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    started = [answer.json()["id"] for answer in answers if answer.status_code == 201]
    assert len(answers) == 8
    assert len(started) == 3, [answer.text for answer in answers]
    assert {answer.status_code for answer in answers} - {201} <= {403, 409, 429, 500, 503}
    assert all("max_kernels" in answer.text for answer in answers if answer.status_code != 201)
    assert kernels.ids() == set(started)
    if isolation == "kernel":
        assert len(parts_of(client, namespace, "kernel")) == 3
    kernels.end(started[0])
    assert kernels.printed(kernels.start("py"), "print(6 * 7)") == "42"
    assert kernels.ask("POST", "kernels", {"name": "py"}).status_code != 201


def test_a_dead_kernel_makes_room_for_another_one(run_gateway: RunGateway, isolation: Any) -> None:
    """One that is restarted by the gateway still counts, and one that could not start does not."""
    argv = ["sh", "-c", "exit 7", "{connection_file}"]
    images: Images = {"broken": KernelImage(DEFAULT_IMAGE, argv=argv), "py": DEFAULT_IMAGE}
    kernels = Kernels(run_gateway(images, isolation=isolation, max_kernels=1))
    for _ in range(3):
        assert kernels.ask("POST", "kernels", {"name": "broken"}).status_code == 500
    kernel = kernels.start("py")
    kernels.restart(kernel)
    assert kernels.ask("POST", "kernels", {"name": "py"}).status_code != 201
    kernels.end(kernel)
    assert kernels.printed(kernels.start("py"), "print(6 * 7)") == "42"


def test_an_entrypoint_runs_before_each_kernel(run_gateway: RunGateway, isolation: Any, entrypoint_image: str) -> None:
    look = "import os; print(os.environ.get('FROM_ENTRYPOINT'))"
    images: Images = {"with": entrypoint_image, "without": KernelImage(entrypoint_image, entrypoint=False)}
    kernels = Kernels(run_gateway(images, isolation=isolation))
    assert kernels.printed(kernels.start("with"), look) == "set by the entrypoint"
    assert kernels.printed(kernels.start("without"), look) == "None"
