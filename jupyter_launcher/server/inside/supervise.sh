# The container's main process, below the engine's init and the image's ENTRYPOINT; README.md beside this file draws the protocol.
# $1: the session's own folder, $2: seconds to wait for a server.
#
# The server is no child of this script: it is started by exec. Both sides share a pipe that the server's
# side holds open: a line on it, or its end, means that the server has ended. An exec may run before this
# script does, so whichever comes first makes the pipe.
run=$1 patience=$2
# Whose environment is what the image's ENTRYPOINT left; await_entrypoint.sh waits for `alive`, which comes after it.
{ echo $$; umask; } >"$run/.supervisor"
[ -p "$run/alive" ] || mkfifo -m 600 "$run/alive" || [ -p "$run/alive" ] || exit 70

# `docker stop`, or the shutdown of the host, reaches this script alone: pass the signal on, and stay until
# the server has shut its kernels down. Without a server there is nothing to wait for.
terminate() {
  pid=$(cat "$run/server.pid" 2>/dev/null) || exit 143
  kill -TERM "$pid" 2>/dev/null
}
trap terminate TERM INT

# If the launcher dies between the container's start and the exec, nobody starts a server.
{
  sleep "$patience" >/dev/null 2>&1
  [ -e "$run/server.pid" ] || { echo "no server came within $patience s; the container ends"; kill -TERM $$; }
} &
# An ENTRYPOINT that copies its command's output reads it until nobody holds it open.
trap "kill $! 2>/dev/null" EXIT

# Opening blocks until the other side opens the pipe. The end without a line: the server was killed
# together with its parent, so nobody could write the exit code. An init of the image (`tini -g`, dumb-init) may send its
# signals to all of a group.
{ trap '' TERM INT; { read -r code && echo "$code" >"$run/exit"; } <"$run/alive"; } &
# A signal ends `wait` early, hence the loop.
while kill -0 $! 2>/dev/null; do wait $!; done
code=
{ read -r code <"$run/exit"; } 2>/dev/null
exit "${code:-137}"
