"""Where kernels in containers run: which folder, which user, which HOME."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from jupyter_launcher import DEFAULT_IMAGE, EngineError, KernelImage, Launcher, Mount, OptionError
from tests.containers import owned, user_inside
from tests.kernels.client import Kernels
from tests.kernels.conftest import RunGateway

WHO = "import os; print(os.getuid(), os.getgid(), os.getcwd())"
WRITE_HOME = "import os; open(os.path.expanduser('~/written'), 'w').close(); print(os.path.expanduser('~'))"
WRITE = "try: open('new', 'w').close(); print('written')\nexcept OSError as error: print(type(error).__name__)"


@pytest.mark.parametrize("name", ["a:b", "a,b", "it's", 'say "yes"', "with space", "ünï", "-dash", "$(id)", "a\\b"])
def test_a_directory_of_any_name(run_gateway: RunGateway, tmp_path: Path, isolation: Any, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (owned(folder) / "seen").write_text(name)
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation=isolation, pipeline_dir=folder))
    assert kernels.printed(kernels.start("py"), "print(open('/pipeline-dir/seen').read())") == name


def test_a_notebook_runs_in_its_folder_of_any_name(launcher: Launcher, pipeline_dir: Path, isolation: Any) -> None:
    names = ("sub", "a:b", "it's", 'say "yes"', "with space", "ünï", "-dash", "$(id)", "a\\b")
    seen = {}
    with launcher.start(pipeline_dir, kernels={"py": DEFAULT_IMAGE}, isolation=isolation) as session:
        for name in names:
            (pipeline_dir / name).mkdir()
            with session.kernel("py", path=f"{name}/one.ipynb") as kernel:
                seen[name] = kernel.execute("import os; print(os.getcwd())").text.strip()
    assert seen == {name: f"/pipeline-dir/{name}" for name in names}


def test_a_folder_that_is_none_of_the_pipeline_is_passed_over(
    run_gateway: RunGateway, pipeline_dir: Path, isolation: Any
) -> None:
    """It is not made either, as an engine would, as root."""
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation=isolation))
    for folder in ("/pipeline-dir/missing", "/etc", "/pipeline-dir/../etc", "missing", "/pipeline-dir/\n"):
        answer = kernels.ask("POST", "kernels", {"name": "py", "env": {"KERNEL_WORKING_DIR": folder}})
        if answer.status_code == 201:
            assert kernels.printed(answer.json()["id"], "import os; print(os.getcwd())") == "/pipeline-dir", folder
    assert list(pipeline_dir.iterdir()) == []


def test_a_link_in_the_pipeline_leads_to_nothing_of_the_host(
    run_gateway: RunGateway, pipeline_dir: Path, isolation: Any
) -> None:
    (pipeline_dir / "link").symlink_to("/usr")
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation=isolation))
    kernel = kernels.start("py", env={"KERNEL_WORKING_DIR": "/pipeline-dir/link"})
    assert kernels.printed(kernel, "import os; print(os.getcwd())") in ("/usr", "/pipeline-dir")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a folder to somebody")
@pytest.mark.parametrize("image", ["ours", "without a home"])
def test_any_uid_has_a_home_that_it_can_write(
    run_gateway: RunGateway, tmp_path: Path, isolation: Any, image: str, python_311: str, client: Any
) -> None:
    folder = tmp_path / "of-4242"
    folder.mkdir()
    os.chown(folder, 4242, 4242)
    images = {"py": DEFAULT_IMAGE if image == "ours" else python_311}
    kernels = Kernels(run_gateway(images, isolation=isolation, pipeline_dir=folder))
    kernel = kernels.start("py")
    uid, gid = user_inside(client, folder).split(":")
    assert kernels.printed(kernel, WHO) == f"{uid} {gid} /pipeline-dir"
    assert kernels.printed(kernel, WRITE_HOME).startswith("/")
    assert kernels.printed(kernel, WRITE) == "written"
    assert (folder / "new").stat().st_uid == 4242


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a folder to somebody")
def test_a_user_that_may_not_write_the_directory(run_gateway: RunGateway, tmp_path: Path, isolation: Any) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o755)
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation=isolation, pipeline_dir=folder, user="4242:4242"))
    assert kernels.printed(kernels.start("py"), WRITE) == "PermissionError"


def test_a_directory_that_is_mounted_read_only(launcher: Launcher, pipeline_dir: Path, isolation: Any) -> None:
    """Kernels cannot write there either, or such a session is refused."""
    try:
        session = launcher.start(
            pipeline_dir, kernels={"py": DEFAULT_IMAGE}, isolation=isolation, pipeline_read_only=True
        )
    except OptionError as error:
        assert error.option in ("kernels", "pipeline_read_only")  # noqa: PT017 - one of two ways
        return
    with session:
        assert session.execute(WRITE).text == "OSError\n"
    assert list(pipeline_dir.iterdir()) == []


def test_mounts_and_variables_of_an_image_reach_its_kernels_alone(
    run_gateway: RunGateway, tmp_path: Path, isolation: Any, python_311: str
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("mounted")
    data.chmod(0o755)
    with_all = KernelImage(
        DEFAULT_IMAGE,
        environment={"OF_THE_IMAGE": "a 'value' with \"quotes\""},
        mounts=[Mount(source=str(data), target="/data", read_only=True)],
    )
    kernels = Kernels(run_gateway({"py": with_all, "py311": python_311}, isolation=isolation))
    look = "import os; print(os.environ.get('OF_THE_IMAGE'), os.path.exists('/data/file'))"
    assert kernels.printed(kernels.start("py"), look) == "a 'value' with \"quotes\" True"
    assert kernels.printed(kernels.start("py311"), look) == "None False"


@pytest.mark.parametrize(
    "env",
    [
        {"KERNEL_UID": "0", "KERNEL_GID": "0", "KERNEL_USERNAME": "root"},
        {"KERNEL_IMAGE": "jupyter-launcher/no-such-image", "KERNEL_ID": "../../images/json"},
        {"KERNEL_TEXT": "line\nline", "KERNEL_EMPTY": ""},
    ],
    ids=["user", "image", "texts"],
)
def test_what_a_client_says_is_a_variable_and_nothing_more(
    run_gateway: RunGateway, pipeline_dir: Path, isolation: Any, env: dict[str, str], client: Any
) -> None:
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation=isolation))
    answer = kernels.ask("POST", "kernels", {"name": "py", "env": env})
    if answer.status_code != 201:
        assert "KERNEL_" in answer.text
        assert kernels.ids() == set()
        return
    uid, _, gid = user_inside(client, pipeline_dir).partition(":")
    assert kernels.printed(answer.json()["id"], WHO) == f"{uid} {gid} /pipeline-dir"


def test_a_variable_that_is_no_kernels_does_not_reach_it(run_gateway: RunGateway, isolation: Any) -> None:
    kernels = Kernels(run_gateway({"py": DEFAULT_IMAGE}, isolation=isolation))
    answer = kernels.ask("POST", "kernels", {"name": "py", "env": {"LD_PRELOAD": "/x.so", "PATH": "/nowhere"}})
    if answer.status_code == 201:
        look = "import os; print(os.environ.get('LD_PRELOAD'), '/nowhere' in os.environ['PATH'])"
        assert kernels.printed(answer.json()["id"], look) == "None False"


def test_a_path_that_no_engine_mounts_is_an_error_and_leaves_nothing(
    launcher: Launcher, tmp_path: Path, isolation: Any
) -> None:
    """Podman cannot mount it; Docker can."""
    folder = tmp_path / 'a:b,c"d'
    folder.mkdir()
    owned(folder)
    try:
        with launcher.run_gateway(folder, kernels={"py": DEFAULT_IMAGE}, isolation=isolation) as gateway:
            kernels = Kernels(gateway)
            assert kernels.printed(kernels.start("py"), WRITE) == "written"
    except EngineError:
        assert launcher._engine.traits.name == "Podman"
