# Tells whether a server was started. $1: the session's own folder. Exit code 0: yes. 44: no. Any other: nobody knows.
# Other programs end with 1 or 2, so these are no answers; and a "no" needs a folder that can be read.
[ -d "$1" ] && [ -r "$1" ] && [ -x "$1" ] || { echo "$1 cannot be read" >&2; exit 1; }
[ -e "$1/server.pid" ] || exit 44
