# Runs a script of Jupyter's in this Python, whatever its version, after the tunings below. Written by
# start.sh. Kernels and terminals are not tuned: nothing of this is in their environment.
# sys.argv: this file, the script, the script's arguments.
import os
import runpy
import sys


def run_script():
    runpy.run_path(sys.argv[0], run_name="__main__")


# {tunings}

# A shell drops variables whose names are no shell names, and sets some anew. The supervisor has them all; where it did
# not say which process it is, so has the container's first process. What else is missing start.sh took out.
folder = os.path.dirname(os.path.realpath(__file__))
path = "/proc/1/environ"
try:
    with open(folder + "/.supervisor") as supervisor:
        path = "/proc/%d/environ" % int(supervisor.readline())
except (OSError, ValueError):
    pass
try:
    with open(path, "rb") as environment:
        entries = environment.read().split(b"\0")
except OSError:
    entries = []
for entry in entries:
    name, equals, value = entry.partition(b"=")
    is_shells = name in (b"IFS", b"OPTIND", b"PPID", b"PS4", b"UID", b"EUID")
    if name and equals and (is_shells or not name.decode("ascii", "replace").isidentifier()):
        os.environb[name] = value

if sys.path and os.path.realpath(sys.path[0]) == folder:
    sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[1]))
del sys.argv[0]
run_script()
