"""Imported when Python starts: the server and Jupyter's commands see no packages of a user, so that none breaks them.

Kernels and all else take the packages of a user before those of this environment, which nobody can change in a session.
So pip may install other versions there, and remove what it has installed. It runs before Python adds the user's folder.
"""

import os
import site
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SERVER = "/run/jupyter-launcher/launch.py"


def find_program():
    """What this Python runs: the path of a script, or the name of a module; empty for the code of `-c`."""
    arguments = iter(sys.orig_argv[1:])
    for argument in arguments:
        if argument == "-" or not argument.startswith("-"):
            return argument
        if argument.startswith("--"):
            if argument == "--check-hash-based-pycs":
                next(arguments, "")
            continue
        # Options of one letter may stand together; the rest of the word, or the next one, is the value of the last.
        for at, letter in enumerate(argument):
            if letter in "cmWX":
                value = argument[at + 1 :] or next(arguments, "")
                if letter in "cm":
                    return value if letter == "m" else ""
                break
    return ""


def is_jupyters(program):
    """Whether it is the server or a command of Jupyter's, and none that a user has installed."""
    folder, name = os.path.split(program)
    is_command = name.startswith("jupyter") and name.replace("-", "").isalpha()
    return program == SERVER or (is_command and folder != f"{site.getuserbase()}/bin")


def put_user_first(program):
    """Let the packages of a user, if there may be any, be found before those of this environment."""
    folder = site.getusersitepackages()
    if os.path.isdir(folder):
        sys.path.insert(sys.path.index(HERE), folder)
    if os.path.basename(program).rstrip(".0123456789") in ("pip", "__pip-runner__.py") and not os.access(HERE, os.W_OK):
        # In a virtual environment, pip replaces and removes nothing that a user has. In any other it does, and what it
        # installs goes to the user's folder, since this one cannot be written.
        sys.base_prefix = sys.prefix


program = find_program()
if is_jupyters(program):
    site.ENABLE_USER_SITE = False
elif site.check_enableusersite():
    put_user_first(program)
if program == SERVER or os.path.basename(program) == "jupyter-lab":
    import jupyter_launcher_start

    jupyter_launcher_start.use()
