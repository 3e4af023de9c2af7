# Starts the server, and prints its server_info as soon as it answers.
# $1: the session's own folder (in memory, of this user alone), $2: seconds to wait, $3: the lease in
# seconds, 0 for none, $4: a module that Python runs first, or nothing, $5: the text of a configuration
# file, the rest: the server's argv.
# This shell stays as the server's parent and hands its exit code to the supervisor.
# It prints an end of transmission when server_info was printed or can't come any more.
# The server needs the core that this runs on, so: few processes, and no tight polling.
run=$1 seconds=$2 lease=$3 first=$4 config=$5
shift 5

mask=$(umask)
umask 077
[ ! -e "$run/jupyter" ] || rm -rf "$run/jupyter" "$run/config" "$run/python" "$run/word" "$run/told" "$run/server.pid" "$run/exit"
mkdir "$run/jupyter" "$run/config" "$run/python" && mkfifo "$run/word" || exit 70
# Whole and without a newline before the server looks: an empty file would switch authentication
# off. Only its path is in the environment. Two random numbers of the kernel's, of 122 bits each.
uuid=/proc/sys/kernel/random/uuid
read -r one <$uuid && read -r two <$uuid && [ "${#one}${#two}" = 3636 ] || { echo "no random numbers for a token" >&2; exit 70; }
printf %s "$one-$two" >"$run/token" || exit 70
unset one two JUPYTER_TOKEN
export JUPYTER_TOKEN_FILE="$run/token" JUPYTER_RUNTIME_DIR="$run/jupyter"
# The server reads it beside all that it would have read without it.
printf %s "$config" >"$run/config/jupyter_server_config.py" || exit 70
export JUPYTER_CONFIG_PATH="$run/config${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}"
# Jupyter does not start without a HOME that it can write to.
if [ ! -w "${HOME:-/}" ] || [ "${HOME:-/}" = / ]; then
  export HOME=/tmp/jupyter-home-$$
  mkdir "$HOME" || exit 70
fi
if [ -n "$first" ]; then
  printf %s "$first" >"$run/python/sitecustomize.py" || exit 70
  export JUPYTER_LAUNCHER_PYTHONPATH="${PYTHONPATH-}" PYTHONPATH="$run/python${PYTHONPATH:+:$PYTHONPATH}"
fi
umask "$mask"

uptime() { read -r up _ </proc/uptime && echo "${up%.*}"; }

exec 9>"$run/alive"

# This watches, and not the server, runs in the background: what a shell starts there ignores
# SIGINT, and so would each terminal and each kernel of the server.
(
  exec 9>&- 8<>"$run/word"
  # The server gives its word when it answers (see server_config.py), the shell below when it has
  # ended. This is for a server that does not read our configuration, and for the end of the time.
  (
    left=$((seconds * 5))
    while [ "$left" -gt 0 ] && [ ! -e "$run/told" ] && sleep 0.2; do echo look >&8; left=$((left - 1)); done
    echo late >&8
  ) &
  info= word=
  # The server writes the file in more than one piece.
  while [ "${info%\}}" = "$info" ] && [ "$word" != late ] && [ ! -e "$run/exit" ]; do
    read -r word <&8
    for file in "$run"/jupyter/jpserver-*.json; do
      [ ! -s "$file" ] || info=$(cat "$file")
    done
  done
  echo "$word" >"$run/told"
  printf '%s\n\004' "$info"

  # Whoever holds the lease moves its end on. When nobody does, the session ends itself: gracefully,
  # then by force, since a server whose gateway is gone never ends when it is asked.
  [ "$lease" -gt 0 ] && [ ! -e "$run/exit" ] || exit
  exec >/proc/1/fd/1 2>&1 8>&-
  echo $(($(uptime) + lease)) >"$run/lease"
  while left=$(($(cat "$run/lease") - $(uptime))) && [ "$left" -gt 0 ]; do sleep "$left"; done
  echo "the lease was not renewed for $lease s; the session ends"
  kill -TERM "$(cat "$run/server.pid")"
  sleep 20
  kill -KILL "$(cat "$run/server.pid")"
) &
exec >/dev/null 2>&1

# `jupyter lab` would only look for this beside itself and become it, and take a Python's start for it.
lab=$(command -v "$1")-$2
if [ -x "$lab" ]; then shift 2; set -- "$lab" "$@"; fi
(
  read -r pid _ </proc/self/stat && echo "$pid" >"$run/server.pid"
  exec "$@" </dev/null >/proc/1/fd/1 2>/proc/1/fd/2
)
code=$?
echo "$code" >"$run/exit"
echo ended 1<>"$run/word"
echo "$code" >&9
