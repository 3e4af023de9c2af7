"""Start a session for a pipeline with a kernel gateway, prove it with a notebook, and wait.

    run_pipeline.py PIPELINE_DIR [--once]

The notebook (``report.ipynb``, if the pipeline has one) runs through the server on a kernel of the
gateway, with jupyter-kernel-client: nothing of the launcher's own.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

import nbformat
from jupyter_kernel_client import JupyterKernelClient

from jupyter_launcher import Event, EventKind, Launcher, LauncherError, Session


def show(event: Event) -> None:
    """One line for each phase that ended."""
    if event.kind in (EventKind.FINISHED, EventKind.FAILED):
        print(f"  {event.phase.value:<10} {event.kind.value:<9} {event.seconds:6.2f} s  {event.detail}", flush=True)


def kernel_client(session: Session) -> JupyterKernelClient:
    """A client of a new kernel of the session: a context manager, which shuts the kernel down."""
    # The client waits this long for its own reader thread at the end, 10 s unless told.
    return JupyterKernelClient(
        server_url=session.client_url, token=session.server_info.token, client_kwargs={"timeout": 3}
    )


def execute(session: Session, notebook: Path) -> str:
    """Run all code cells of a notebook on one kernel of the session; give what they printed."""
    printed = []
    with kernel_client(session) as kernel:
        for cell in nbformat.read(notebook, as_version=4).cells:
            if cell.cell_type != "code":
                continue
            reply = kernel.execute(cell.source)
            if reply["status"] != "ok":
                sys.exit(f"a cell of {notebook} failed: {reply['outputs']}")
            printed += [output.get("text", "") for output in reply["outputs"]]
    return "".join(printed)


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline_dir", type=Path)
    parser.add_argument("--once", action="store_true", help="stop after the proof")
    arguments = parser.parse_args()
    # A shell's background job ignores SIGINT; and whoever sends SIGTERM wants the same clean end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Launcher(on_event=show) as launcher:
        print("starting a kernel gateway", flush=True)
        with launcher.run_gateway(arguments.pipeline_dir) as gateway:
            print(f"starting JupyterLab for {arguments.pipeline_dir} with {gateway}", flush=True)
            with launcher.start(arguments.pipeline_dir, gateway=gateway) as session:
                print(f"server_info: {json.dumps(session.server_info.to_dict(), indent=2)}")
                print(f"lab_url: {session.lab_url}", flush=True)
                notebook = arguments.pipeline_dir / "report.ipynb"
                if notebook.exists():
                    print(f"{notebook}, run on a kernel of {gateway}:\n{execute(session, notebook)}", flush=True)
                if not arguments.once:
                    print("Ctrl-C stops it", flush=True)
                    signal.pause()


if __name__ == "__main__":
    try:
        main()
    except LauncherError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("stopped", flush=True)
