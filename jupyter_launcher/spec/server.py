"""What is sent into the container: the server's command, its configuration, and the scripts. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import resources

from jupyter_launcher.models import Gateway
from jupyter_launcher.spec.checks import HOME_TARGET, PIPELINE_TARGET, RUN_DIR, SERVER_PORT
from jupyter_launcher.spec.embedding import embedding_arguments, needs_third_party_cookies
from jupyter_launcher.spec.options import SessionSpec

__all__ = ["RUN_DIR", "launch_script", "read_script", "server_command", "server_config"]

_THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMEXPR_MAX_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
    "PYTHON_CPU_COUNT",
)
_TUNINGS = ("rfc3987_syntax", "yarn_config", "late_collection", "late_imports", "extension_client", "quick_exit")


def read_script(name: str) -> str:
    """The text of a file that runs inside the container."""
    return (resources.files("jupyter_launcher.server") / "inside" / name).read_text(encoding="utf-8")


def server_command(spec: SessionSpec, gateway: Gateway | None) -> tuple[str, ...]:
    """The server's command: the hard-coded settings, the gateway's URL, then the caller's own."""
    return (
        "jupyter",
        "lab",
        "--ip=0.0.0.0",
        f"--port={SERVER_PORT}",
        f"--notebook-dir={PIPELINE_TARGET}",
        *([f"--gateway-url={gateway.url}"] if gateway else []),
        # A busy port would silently become the next one, which nobody publishes.
        "--port-retries=0",
        "--no-browser",
        # Jupyter refuses to run as root without it; it has no effect for others.
        "--allow-root",
        *([f"--ServerApp.base_url={spec.base_url}"] if spec.base_url != "/" else []),
        *(embedding_arguments(spec.allow_origin, spec.base_url) if spec.allow_origin else ()),
        *(_home_arguments(spec.session_id) if spec.home is not None else ()),
        *spec.lab_args,
    )


def _home_arguments(session_id: str) -> tuple[str, str]:
    # Whatever the image sets. Two servers with one folder of workspaces take each other's layout of windows for their
    # own (jupyterlab#15989).
    folder = f"{HOME_TARGET}/.jupyter/lab"
    return (
        f"--LabApp.user_settings_dir={folder}/user-settings",
        f"--LabApp.workspaces_dir={folder}/workspaces/{session_id}",
    )


def server_config(spec: SessionSpec, gateway: Gateway | None) -> str:
    """A configuration file of ours, for what the server's arguments cannot say."""
    third_party = spec.allow_origin is not None and needs_third_party_cookies(spec.allow_origin)
    on_gateway = gateway is not None
    wanted = {
        "held_settings": True,
        "ready_signal": True,
        "quiet_look": True,
        "kernel_environment": True,
        "trash": True,
        "checkpoints": True,
        "collaboration": True,
        "extension_manager": True,
        "ipython_folder": spec.tune,
        "reports": True,
        "output_limits": True,
        "resume": True,
        "partitioned_cookies": third_party,
        "login_cookies": third_party,
        "gateway_token": gateway is not None and gateway.token is not None,
        "gateway_kernels": on_gateway,
        "gateway_shutdown": on_gateway,
        "gateway_websocket": on_gateway,
        "gateway_messages": on_gateway,
        "gateway_errors": on_gateway,
        "gateway_buffers": on_gateway,
        "idle": spec.idle_timeout is not None or spec.idle_kernel_timeout is not None,
    }
    text = _join(name for name, is_wanted in wanted.items() if is_wanted)
    limits = f"_idle_timeout, _idle_kernel_timeout = {spec.idle_timeout}, {spec.idle_kernel_timeout}\n"
    return _settings(spec) + text.replace("# {limits}\n", limits)


def _settings(spec: SessionSpec) -> str:
    """What the server sets for itself, its terminals and the kernels beside it, before it does anything else."""
    lines = [] if spec.umask is None else [f"os.umask(0o{spec.umask})"]
    # What the caller's environment, the image or its entrypoint says is left as it is.
    lines += [f"os.environ.setdefault({name!r}, {text!r})" for name, text in _limit_variables(spec).items()]
    return "\n".join(["import os", *lines, ""]) if lines else ""


def _limit_variables(spec: SessionSpec) -> dict[str, str]:
    """The limits as JupyterHub names them, and how many threads libraries start, which else go by the host's cores."""
    memory = {} if spec.memory is None else {"MEM_LIMIT": str(spec.memory)}
    if spec.cpus is None:
        return memory
    return {**memory, "CPU_LIMIT": str(float(spec.cpus)), **dict.fromkeys(_THREADS, str(math.ceil(spec.cpus)))}


def launch_script(spec: SessionSpec) -> str:
    """The script that tunes the server's Python if that is wanted, and then becomes the server."""
    return read_script("launch.py").replace("# {tunings}\n", _join(_TUNINGS if spec.tune else ()))


def _join(patches: Iterable[str]) -> str:
    return "\n".join(read_script(f"patches/{name}.py") for name in patches)
