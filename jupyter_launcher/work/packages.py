"""``Session.install``: packages for the kernels beside the server, by the pip of the Python that runs them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from jupyter_launcher.errors import CommandError, OptionError, WorkError
from jupyter_launcher.models import Gateway
from jupyter_launcher.models.options import is_text, show_value
from jupyter_launcher.results import CommandResult
from jupyter_launcher.server.api import NoAnswerError
from jupyter_launcher.spec.labels import ToolLabels
from jupyter_launcher.spec.server import RUN_DIR
from jupyter_launcher.waiting import Deadline
from jupyter_launcher.work.place import Place
from jupyter_launcher.work.server import KernelServer

__all__ = ["RunCommand", "find_python", "install_packages"]

_LOOK_SECONDS = 10.0
_PYTHON = re.compile(r"(?:.*/)?(?:python|pypy)[0-9.]*")
_OF_SERVER = re.compile(r"python[0-9.]*")
"""jupyter_client takes the server's own Python where a kernel spec has one of these."""
_OPTIONS = (
    "--disable-pip-version-check",
    "--no-input",
    "--no-color",
    "--no-warn-script-location",
    "--progress-bar=off",
)
_SHOWN = 1000  # characters of pip's words
_HINT = "docs/packages.md says how packages get into images of each kind; pip's whole output is in the error's `result`"

# Prints the Python of the server whose process id start.sh noted, or of the first server that tells of itself.
_FIND_SERVER = """
read -r pid <"$1/server.pid"
for file in "$1/jupyter/jpserver-$pid.json" "$1"/jupyter/jpserver-*.json; do [ ! -f "$file" ] || break; done
pid=${file##*/jpserver-}
tr '\\0' '\\n' <"/proc/${pid%.json}/cmdline" | head -n 1
"""


class RunCommand(Protocol):
    """``Session.run``, as far as this module uses it."""

    def __call__(self, argv: Sequence[str], *, timeout: float | None = ..., check: bool = ...) -> CommandResult:
        """Run a command in the session's container, in the environment that its server has."""


def install_packages(
    place: Place, run: RunCommand, requirements: tuple[str, ...], *, timeout: float | None
) -> CommandResult:
    """Install packages, as ``Session.install`` says.

    Args:
        place: the session.
        run: its ``run``.
        requirements: as pip has them.
        timeout: seconds for pip; None: no limit.
    """
    _check_requirements(requirements)
    if place.gateway is not None:
        raise _refuse_gateway(place, place.gateway)
    found = run(("sh", "-c", _FIND_SERVER, "find", RUN_DIR), timeout=_LOOK_SECONDS, check=False)
    python = find_python(_read_kernel_specs(place), found.stdout.strip())
    if python is None:
        msg = (
            f"no kernel of session {place.session_id} is run by a Python directly, so nobody knows which pip is its own"
        )
        hint = "install the packages in the image, or run the right pip by Session.run; docs/packages.md says more"
        raise WorkError(msg, hint=hint, session_id=place.session_id)
    pip = (python, "-m", "pip")
    result = run((*pip, "install", *_OPTIONS, "--", *requirements), timeout=timeout, check=False)
    if result.exit_code == 0:
        return result
    has_pip = run((python, "-c", "import pip"), timeout=_LOOK_SECONDS, check=False).exit_code == 0
    seen = _read_errors(result) if has_pip else f"{python} has no pip"
    # A URL among the requirements may hold a password, which pip hides in what it says.
    msg = f"pip did not install the packages in session {place.session_id}: {seen}"
    raise CommandError(msg, hint=_HINT, session_id=place.session_id, exit_code=result.exit_code, result=result)


def _check_requirements(requirements: tuple[str, ...]) -> None:
    for item in requirements:
        if not is_text(item) or not item.strip():
            msg = f"a requirement is {show_value(item)}"
            raise OptionError(msg, hint="give texts such as 'pandas' or 'scikit-learn==1.7'", option="requirements")
        if item.strip().startswith("-"):
            msg = "an option of pip stands among the requirements"
            hint = "give the session pip's variables instead, such as PIP_INDEX_URL"
            raise OptionError(msg, hint=hint, option="requirements")
    if not requirements:
        msg = "there is no requirement"
        raise OptionError(msg, hint="give at least one, such as 'pandas'", option="requirements")


def _refuse_gateway(place: Place, gateway: Gateway) -> OptionError:
    container = None if gateway.container_id is None else place.engine.inspect(gateway.container_id)
    labels = None if container is None else ToolLabels.of_container(container.labels, container.name)
    if labels is not None and labels.gateway is not None and labels.gateway.isolation:
        images = ", ".join(f"{name} of {image}" for name, image in labels.gateway.images.items())
        msg = f"the kernels of session {place.session_id} have the packages of images of their own: {images}"
        hint = "build them into these images, or run %pip install in a notebook; docs/kernels.md says for how long"
        return OptionError(msg, hint=hint, option="requirements")
    where = f"the gateway {gateway.name}" if container is None else f"image {container.image} of gateway {gateway.name}"
    msg = f"the kernels of session {place.session_id} have the packages of {where}"
    hint = (
        "change that image: `jupyter-launcher build kernel-gateway --requirement FILE` makes one upon ours, for "
        "run_gateway(image=…); docs/packages.md says more"
    )
    return OptionError(msg, hint=hint, option="requirements")


def _read_kernel_specs(place: Place) -> object:
    server = KernelServer(place)
    try:
        answer = server.api.request("GET", "api/kernelspecs", Deadline(_LOOK_SECONDS))
    except NoAnswerError as error:
        server.fail("GET api/kernelspecs", error, _LOOK_SECONDS)
    return answer.body if answer.status == 200 else None


def find_python(kernel_specs: object, servers: str) -> str | None:
    """The Python that runs the default kernel, or where that is of another language, another kernel.

    Args:
        kernel_specs: what a server answers to ``api/kernelspecs``.
        servers: the Python of the server itself, as its command line has it.

    Returns:
        A path, or a name for the ``PATH``; None where the kernel is started by another program, or there is none.
    """
    known = _texts(_texts(kernel_specs).get("kernelspecs"))
    default = _texts(kernel_specs).get("default")
    for name in sorted(known, key=lambda name: (name != default, name != "python3", name)):
        spec = _texts(_texts(known[name]).get("spec"))
        if str(spec.get("language")).lower() != "python":
            continue
        argv = spec.get("argv")
        first = argv[0] if isinstance(argv, list) and argv else None
        if not isinstance(first, str):
            return None
        python = servers if _OF_SERVER.fullmatch(first) else first
        return python if _PYTHON.fullmatch(python) else None
    return None


def _texts(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_errors(result: CommandResult) -> str:
    """What pip says went wrong; where it does not mark that, the end of what it says."""
    lines = [line.strip() for line in (result.stderr.strip() or result.stdout.strip()).splitlines()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    shown = "; ".join(errors or lines[-3:])[-_SHOWN:]
    return shown or f"it ended with exit code {result.exit_code}, and said nothing"
