# Starts the server, and prints its server_info as soon as it answers; README.md beside this file draws the protocol.
# $1: the session's own folder (in memory, of this user alone), $2: seconds to wait, $3: the lease in
# seconds, 0 for none, $4: the text of launch.py, or nothing, $5: the text of a configuration
# file, the rest: the server's argv.
# This shell stays as the server's parent and hands its exit code to the supervisor.
# It prints an end of transmission when server_info was printed or cannot come any more; on stderr it
# prints what works but not as asked.
# Names begin with _ where the server could have a variable of that name.
# The server needs the core that this runs on, so: few processes, and no tight polling.
_run=$1 _seconds=$2 _lease=$3 _launch=$4 _config=$5
shift 5

_mask=$(umask)
umask 077
[ ! -e "$_run/jupyter" ] || rm -rf "$_run/jupyter" "$_run/config" "$_run/launch.py" "$_run/ready" "$_run/reported" "$_run/server.pid" "$_run/exit"
mkdir "$_run/jupyter" "$_run/config" && mkfifo "$_run/ready" || exit 70
# Whole and without a newline before the server looks: an empty file would switch authentication
# off. Only its path is in the environment.
_token=
for _byte in $(od -An -vtx1 -N32 /dev/urandom); do _token=$_token$_byte; done
[ "${#_token}" -eq 64 ] || { echo "no random bytes for a token" >&2; exit 70; }
printf %s "$_token" >"$_run/token" || exit 70
unset _token JUPYTER_TOKEN
export JUPYTER_TOKEN_FILE="$_run/token" JUPYTER_RUNTIME_DIR="$_run/jupyter"
# The server reads it beside all that it would have read without it.
printf %s "$_config" >"$_run/config/jupyter_server_config.py" || exit 70
export JUPYTER_CONFIG_PATH="$_run/config${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}"
# Jupyter does not start without a HOME that it can write to.
if [ ! -w "${HOME:-/}" ] || [ "${HOME:-/}" = / ]; then
  export HOME=/tmp/jupyter-home-$$
  mkdir "$HOME" || exit 70
fi

# `jupyter lab` starts a Python only to exec the `jupyter-lab` beside it. Run that directly where `jupyter`
# is jupyter_core's own script, or a link to it.
_jupyter=$(command -v "$1")
[ ! -L "$_jupyter" ] || _jupyter=$(readlink -f "$_jupyter")
_line= _script=
if [ -f "$_jupyter" ] && [ -x "$_jupyter-$2" ]; then
  while read -r _line; do
    case $_line in "from jupyter_core.command import main"*) _script=$_jupyter-$2 && shift 2 && set -- "$_script" "$@" && break ;; esac
  done <"$_jupyter"
fi
is_python() {
  case ${1##*/}:${2-} in python*:* | pypy*:* | env:python*) return 0 ;; esac
  return 1
}
# The first line of the script names its Python, which runs launch.py, which becomes the script.
if [ -n "$_launch" ]; then
  [ -z "$_script" ] || read -r _line <"$_script"
  set -f # the words of the line, and no names of files
  case $_script:$_line in ?*:"#!"*) is_python ${_line#??} || _script= ;; *) _script= ;; esac
  case $_script in
    ?*)
      printf %s "$_launch" >"$_run/launch.py" || exit 70
      set -- ${_line#??} "$_run/launch.py" "$@"
      ;;
    *) echo "the server is not tuned: \`jupyter lab\` is not run by a Python script of jupyter_core" >&2 ;;
  esac
  set +f
fi
umask "$_mask"

uptime() { read -r up _ </proc/uptime && echo "${up%.*}"; }

[ -p "$_run/alive" ] || mkfifo -m 600 "$_run/alive" 2>/dev/null || [ -p "$_run/alive" ] || exit 70
exec 9>"$_run/alive"

# The watcher runs in the background, and the server does not: processes that a shell starts in the
# background ignore SIGINT, and so would the server's terminals and kernels.
(
  exec 9>&- 8<>"$_run/ready"
  # The server writes `ready` when it answers (patches/ready_signal.py), the shell below `ended` when the
  # server has ended. This timer is for a server that does not read our configuration, and for the end
  # of the time.
  (
    left=$((_seconds * 5))
    while [ "$left" -gt 0 ] && [ ! -e "$_run/reported" ] && sleep 0.2; do echo tick >&8; left=$((left - 1)); done
    echo late >&8
  ) &
  info= reason=
  # The server writes the file in more than one piece.
  while [ "${info%\}}" = "$info" ] && [ "$reason" != late ] && [ ! -e "$_run/exit" ]; do
    read -r reason <&8
    for file in "$_run"/jupyter/jpserver-*.json; do
      [ ! -s "$file" ] || info=$(cat "$file")
    done
  done
  echo "$reason" >"$_run/reported"
  printf '%s\n\004' "$info"

  # The launcher moves the end of the lease on. When it does not, the session ends itself: gracefully,
  # then by force, because a server whose gateway is gone never ends when it is asked.
  [ "$_lease" -gt 0 ] && [ ! -e "$_run/exit" ] || exit
  exec >/proc/1/fd/1 2>&1 8>&-
  echo $(($(uptime) + _lease)) >"$_run/lease"
  while left=$(($(cat "$_run/lease") - $(uptime))) && [ "$left" -gt 0 ]; do sleep "$left"; done
  echo "the lease was not renewed for $_lease s; the session ends"
  kill -TERM "$(cat "$_run/server.pid")"
  sleep 20
  kill -KILL "$(cat "$_run/server.pid")"
) &
exec >/dev/null 2>&1

(
  read -r _pid _ </proc/self/stat && echo "$_pid" >"$_run/server.pid"
  exec "$@" </dev/null >/proc/1/fd/1 2>/proc/1/fd/2
)
code=$?
echo "$code" >"$_run/exit"
echo ended 1<>"$_run/ready"
echo "$code" >&9
