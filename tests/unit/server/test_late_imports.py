"""Modules that the server imports when it uses them: whoever uses them gets the module itself, and once."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from jupyter_launcher.spec.server import read_script

FILES = {
    "requests/__init__.py": """
        import time
        print("requests")
        from .api import get
        time.sleep(0.1)
    """,
    "requests/api.py": "from . import exceptions\ndef get(): return exceptions.Timeout",
    "requests/exceptions.py": "import time\ntime.sleep(0.1)\nprint('exceptions')\nclass Timeout(Exception): pass",
    "jupyterlab_server/__init__.py": "",
    "jupyterlab_server/listings_handler.py": """
        import builtins, sys
        import requests
        import jupyterlab_server.beside
        __import__("json.tool", fromlist=["main"], level=0)
        def fetch(): return requests.get()
    """,
    "jupyterlab_server/beside.py": "",
    "jupyterlab/__init__.py": "",
    "jupyterlab/extensions/__init__.py": "",
    "jupyterlab/extensions/pypi.py": """
        import httpx
        version = httpx.__version__
        def make(): return httpx.AsyncClient(timeout=5)
        def fail(): raise httpx.HTTPError
    """,
    "httpx-7.8.dist-info/METADATA": "Metadata-Version: 2.1\nName: httpx\nVersion: 7.8\n",
    "httpx/__init__.py": """
        print("httpx")
        __version__ = "7.9"
        class HTTPError(Exception): pass
        class AsyncClient:
            def __init__(self, timeout):
                print("client", timeout)
            async def get(self, url): return url
            async def __aenter__(self): return self
            async def __aexit__(self, *error): return None
    """,
}


def run(folder: Path, code: str, files: dict[str, str] | None = None) -> list[str]:
    """The lines that a Python of its own prints, with the patches and these packages."""
    for name, text in {**FILES, **(files or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    patches = "\n".join(read_script(f"patches/{name}.py") for name in ("late_imports", "extension_client"))
    script = f"sys.path.insert(0, {str(folder)!r})\n{textwrap.dedent(code)}"
    line = [sys.executable, "-IS", "-c", f"import sys\n{patches}\n{script}"]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    return (ended.stdout + ended.stderr).splitlines()


def test_a_module_is_imported_when_it_is_used(tmp_path: Path) -> None:
    code = """
    import builtins
    known = builtins.__import__
    from jupyterlab_server import listings_handler
    print("requests" in sys.modules, builtins.__import__ is known)
    print(listings_handler.fetch().__name__)
    import requests
    print(requests is sys.modules["requests"], type(requests).__name__, listings_handler.requests.get is requests.get)
    """
    assert run(tmp_path, code) == ["False True", "requests", "exceptions", "Timeout", "True module True"]


def test_many_threads_use_a_module_and_its_parts_for_the_first_time(tmp_path: Path) -> None:
    code = """
    import importlib, threading
    from jupyterlab_server import listings_handler
    start, found = threading.Barrier(12), []
    def by_its_user():
        start.wait()
        found.append(listings_handler.fetch())
    def by_a_part():
        start.wait()
        import requests.exceptions
        found.append(requests.exceptions.Timeout)
    def by_a_name():
        start.wait()
        from requests.exceptions import Timeout
        found.append(Timeout)
    threads = [threading.Thread(target=work, daemon=True) for work in (by_its_user, by_a_part, by_a_name) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    print(len(found), len(set(found)))
    """
    assert run(tmp_path, code) == ["requests", "exceptions", "12 1"]


@pytest.mark.parametrize(
    ("beside", "seen"),
    [
        ("import requests", ["requests", "exceptions", "True module"]),
        ("import requests.exceptions", ["requests", "exceptions", "True module"]),
        ("from requests import get", ["requests", "exceptions", "True absent"]),
    ],
)
def test_a_module_that_is_imported_beside_it_gets_the_module_itself(
    tmp_path: Path, beside: str, seen: list[str]
) -> None:
    code = """
    from jupyterlab_server import beside, listings_handler
    print("requests" in sys.modules, type(getattr(beside, "requests", None)).__name__.replace("NoneType", "absent"))
    """
    assert run(tmp_path, code, {"jupyterlab_server/beside.py": beside}) == seen


@pytest.mark.parametrize("name", ["nothing", "listings_handler"])
def test_a_module_that_is_not_there_fails_when_it_is_imported(tmp_path: Path, name: str) -> None:
    code = f"""
    import shutil
    shutil.rmtree(sys.path[0] + "/requests")
    try:
        import jupyterlab_server.{name}
    except ImportError as error:
        print(error.name)
    """
    assert run(tmp_path, code) == [{"nothing": "jupyterlab_server.nothing", "listings_handler": "requests"}[name]]


def test_the_client_of_the_extension_manager_is_made_at_its_first_request(tmp_path: Path) -> None:
    code = """
    import asyncio
    from jupyterlab.extensions import pypi
    client = pypi.make()
    print(pypi.version, "httpx" in sys.modules)
    print(asyncio.run(client.get("url")), asyncio.run(client.get("url")))
    async def use():
        async with pypi.make() as other:
            print(type(other).__module__)
    asyncio.run(use())
    import httpx
    print(httpx.AsyncClient.__name__)
    try:
        pypi.fail()
    except httpx.HTTPError:
        print("failed")
    """
    expected = ["7.8 False", "httpx", "client 5", "url url", "client 5", "httpx", "AsyncClient", "failed"]
    assert run(tmp_path, code) == expected


def test_without_metadata_the_client_knows_its_version(tmp_path: Path) -> None:
    code = """
    from importlib import metadata
    metadata.version = lambda name: metadata.distribution("nobody's")
    from jupyterlab.extensions import pypi
    print(pypi.version)
    """
    assert run(tmp_path, code) == ["httpx", "7.9"]
