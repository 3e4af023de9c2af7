# Runs a script of Jupyter's in this Python, whatever its version, after the tunings below. Written by
# start.sh. Kernels and terminals are not tuned: nothing of this is in their environment.
# sys.argv: this file, the script, the script's arguments.
import os
import runpy
import sys

# {tunings}

if sys.path and os.path.realpath(sys.path[0]) == os.path.dirname(os.path.realpath(__file__)):
    sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[1]))
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
