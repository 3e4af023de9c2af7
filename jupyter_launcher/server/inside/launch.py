# Runs a script of Jupyter's in this Python, whatever its version, after the tunings below. Written by
# start.sh. Kernels and terminals are not tuned: nothing of this is in their environment.
# sys.argv: this file, the script, the script's arguments.
import os
import runpy
import sys

# {tunings}

# A shell drops variables whose names are no shell names, and sets some anew. The container's first process has
# them all. JUPYTER_TOKEN is missing because start.sh took it out.
try:
    with open("/proc/1/environ", "rb") as environment:
        entries = environment.read().split(b"\0")
except OSError:
    entries = []
for entry in entries:
    name, equals, value = entry.partition(b"=")
    is_changed = name not in os.environb or name in (b"IFS", b"OPTIND", b"PPID", b"PS4")
    if name and equals and is_changed and name != b"JUPYTER_TOKEN":
        os.environb[name] = value

if sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
    sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[1]))
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
