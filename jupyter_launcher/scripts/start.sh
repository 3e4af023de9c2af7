# Starts the server, and prints its server_info as soon as it is there.
# $1: the session's own folder (in memory, of this user alone), $2: seconds to wait, $3: the lease in
# seconds, 0 for none, $4: a module that Python runs first, or nothing, $5: the text of a configuration
# file, or nothing, the rest: the server's argv.
# This shell stays as the server's parent and hands its exit code to the supervisor.
# It prints an end of transmission when server_info was printed or can't come any more.
run=$1 seconds=$2 lease=$3 first=$4 config=$5
shift 5

mask=$(umask)
umask 077
rm -rf "$run/jupyter" "$run/config" "$run/server.pid" "$run/exit"
mkdir "$run/jupyter" || exit 70
# Whole and without a newline before the server looks: an empty file would switch authentication
# off. Only its path is in the environment.
token=$(od -An -vtx1 -N24 /dev/urandom | tr -d ' \n')
[ "${#token}" -eq 48 ] || { echo "no random bytes for a token" >&2; exit 70; }
printf %s "$token" >"$run/token" || exit 70
unset token JUPYTER_TOKEN
export JUPYTER_TOKEN_FILE="$run/token" JUPYTER_RUNTIME_DIR="$run/jupyter"
# The server reads it beside all that it would have read without it.
if [ -n "$config" ]; then
  mkdir "$run/config" && printf %s "$config" >"$run/config/jupyter_server_config.py" || exit 70
  export JUPYTER_CONFIG_PATH="$run/config${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}"
fi
# Jupyter does not start without a HOME that it can write to.
if [ ! -w "${HOME:-/}" ] || [ "${HOME:-/}" = / ]; then
  export HOME=/tmp/jupyter-home-$$
  mkdir "$HOME" || exit 70
fi
if [ -n "$first" ]; then
  mkdir -p "$run/python" && printf %s "$first" >"$run/python/sitecustomize.py" || exit 70
  export JUPYTER_LAUNCHER_PYTHONPATH="${PYTHONPATH-}" PYTHONPATH="$run/python${PYTHONPATH:+:$PYTHONPATH}"
fi
umask "$mask"

uptime() { read -r up _ </proc/uptime && echo "${up%.*}"; }

exec 9>"$run/alive"

# This watches, and not the server, runs in the background: what a shell starts there ignores
# SIGINT, and so would each terminal and each kernel of the server.
(
  exec 9>&-
  left=$((seconds * 40)) info=
  # The server writes the file in more than one piece.
  while [ "${info%\}}" = "$info" ] && [ "$left" -gt 0 ] && [ ! -e "$run/exit" ]; do
    sleep 0.025
    for file in "$run"/jupyter/jpserver-*.json; do
      [ ! -s "$file" ] || info=$(cat "$file")
    done
    left=$((left - 1))
  done
  printf '%s\n\004' "$info"

  # Whoever holds the lease moves its end on. When nobody does, the session ends itself: gracefully,
  # then by force, since a server whose gateway is gone never ends when it is asked.
  [ "$lease" -gt 0 ] && [ ! -e "$run/exit" ] || exit
  exec >/proc/1/fd/1 2>&1
  echo $(($(uptime) + lease)) >"$run/lease"
  while left=$(($(cat "$run/lease") - $(uptime))) && [ "$left" -gt 0 ]; do sleep "$left"; done
  echo "the lease was not renewed for $lease s; the session ends"
  kill -TERM "$(cat "$run/server.pid")"
  sleep 20
  kill -KILL "$(cat "$run/server.pid")"
) &
exec >/dev/null 2>&1

sh -c 'echo $$ >"$1"; shift; exec "$@"' server "$run/server.pid" "$@" \
  </dev/null >/proc/1/fd/1 2>/proc/1/fd/2
code=$?
echo "$code" >"$run/exit"
echo "$code" >&9
