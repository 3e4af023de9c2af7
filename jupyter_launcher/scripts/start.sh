# Starts the server, and prints its server_info as soon as it answers.
# $1: the session's own folder (in memory, of this user alone), $2: seconds to wait, $3: the lease in
# seconds, 0 for none, $4: a module that Python runs first, or nothing, $5: the text of a configuration
# file, the rest: the server's argv.
# This shell stays as the server's parent and hands its exit code to the supervisor.
# It prints an end of transmission when server_info was printed or can't come any more.
# Names begin with _ where the server could have a variable of that name.
# The server needs the core that this runs on, so: few processes, and no tight polling.
_run=$1 _seconds=$2 _lease=$3 _first=$4 _config=$5
shift 5

_mask=$(umask)
umask 077
[ ! -e "$_run/jupyter" ] || rm -rf "$_run/jupyter" "$_run/config" "$_run/python" "$_run/word" "$_run/told" "$_run/server.pid" "$_run/exit"
mkdir "$_run/jupyter" "$_run/config" "$_run/python" && mkfifo "$_run/word" || exit 70
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
if [ -n "$_first" ]; then
  printf %s "$_first" >"$_run/python/sitecustomize.py" || exit 70
  export JUPYTER_LAUNCHER_PYTHONPATH="${PYTHONPATH-}" PYTHONPATH="$_run/python${PYTHONPATH:+:$PYTHONPATH}"
fi
umask "$_mask"

uptime() { read -r up _ </proc/uptime && echo "${up%.*}"; }

[ -p "$_run/alive" ] || mkfifo -m 600 "$_run/alive" 2>/dev/null || [ -p "$_run/alive" ] || exit 70
exec 9>"$_run/alive"

# This watches, and not the server, runs in the background: what a shell starts there ignores
# SIGINT, and so would each terminal and each kernel of the server.
(
  exec 9>&- 8<>"$_run/word"
  # The server gives its word when it answers (see server_config.py), the shell below when it has
  # ended. This is for a server that does not read our configuration, and for the end of the time.
  (
    left=$((_seconds * 5))
    while [ "$left" -gt 0 ] && [ ! -e "$_run/told" ] && sleep 0.2; do echo look >&8; left=$((left - 1)); done
    echo late >&8
  ) &
  info= word=
  # The server writes the file in more than one piece.
  while [ "${info%\}}" = "$info" ] && [ "$word" != late ] && [ ! -e "$_run/exit" ]; do
    read -r word <&8
    for file in "$_run"/jupyter/jpserver-*.json; do
      [ ! -s "$file" ] || info=$(cat "$file")
    done
  done
  echo "$word" >"$_run/told"
  printf '%s\n\004' "$info"

  # Whoever holds the lease moves its end on. When nobody does, the session ends itself: gracefully,
  # then by force, since a server whose gateway is gone never ends when it is asked.
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

# `jupyter lab` would only look for this beside itself and become it, and take a Python's start for it.
# Not so where `jupyter` is a link to elsewhere, or a script of somebody's own.
_jupyter=$(command -v "$1")
if [ -x "$_jupyter-$2" ] && [ ! -L "$_jupyter" ]; then
  while read -r _line; do
    case $_line in "from jupyter_core.command import main"*) shift && shift && set -- "$_jupyter-lab" "$@" && break ;; esac
  done <"$_jupyter"
fi
(
  read -r _pid _ </proc/self/stat && echo "$_pid" >"$_run/server.pid"
  exec "$@" </dev/null >/proc/1/fd/1 2>/proc/1/fd/2
)
code=$?
echo "$code" >"$_run/exit"
echo ended 1<>"$_run/word"
echo "$code" >&9
