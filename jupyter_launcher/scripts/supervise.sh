# The container's main process, below the engine's init.
# $1: the session's own folder, $2: seconds to wait for a server.
#
# The server is no child of this script, it comes by exec. Both know of each other by a pipe that
# the server's side holds open: a line on it, or its end, means that the server is gone. An exec may
# run before this does, so whichever comes first makes it.
run=$1 patience=$2
[ -p "$run/alive" ] || mkfifo -m 600 "$run/alive" || [ -p "$run/alive" ] || exit 70

# `docker stop`, or the host going down, reaches this script alone: pass it on, and stay until the
# server has shut its kernels down. With no server there is nothing to wait for.
terminate() {
  pid=$(cat "$run/server.pid" 2>/dev/null) || exit 143
  kill -TERM "$pid" 2>/dev/null
}
trap terminate TERM INT

# A launcher that dies between the container's start and the exec leaves nobody to send a server.
{
  sleep "$patience"
  [ -e "$run/server.pid" ] || { echo "no server came within $patience s; the container ends"; kill -TERM $$; }
} &

# Opening blocks until the other side is there. No line, only the end: killed together with its
# parent, so nobody could tell the exit code.
{ read -r code && echo "$code" >"$run/exit"; } <"$run/alive" &
# A signal ends `wait` early, hence the loop.
while kill -0 $! 2>/dev/null; do wait $!; done
code=$(cat "$run/exit" 2>/dev/null)
exit "${code:-137}"
