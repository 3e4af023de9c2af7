#!/bin/sh
# A Docker engine for this machine.  engine.sh up: returns when one answers, and brings one up where
# that is possible (root on Debian).  engine.sh down: ends the one that `up` started, no other.
set -eu

pidfile=/var/run/docker.pid
ours=/var/run/jupyter-launcher-dockerd.pid
log=/var/log/jupyter-launcher-dockerd.log

say() { echo "engine: $*" >&2; }
die() { say "$*"; exit 1; }

# Asks by the engine's own API: a client may be missing, or be of another version.
answers() {
  case ${DOCKER_HOST:-unix:///var/run/docker.sock} in
    unix://*) python3 - "${DOCKER_HOST:-unix:///var/run/docker.sock}" <<'PY'
import http.client, socket, sys
connection = http.client.HTTPConnection("localhost", timeout=10)
connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
connection.sock.settimeout(10)
try:
    connection.sock.connect(sys.argv[1].removeprefix("unix://"))
    connection.request("GET", "/_ping")
    sys.exit(connection.getresponse().status != 200)
except OSError as error:
    sys.exit(13 if isinstance(error, PermissionError) else 1)
PY
      ;;
    *) docker version >/dev/null 2>&1 ;;
  esac
}

# By its program, which one that ended and was not waited for has no more.
is_dockerd() { [ "$(basename "$(readlink "/proc/$1/exe" 2>/dev/null)" 2>/dev/null)" = "$2" ]; }

# An engine that was killed hard leaves files that name a process which is no more, and then the
# next one refuses to start.
remove_stale() {
  for pair in "$pidfile dockerd" "/var/run/docker/containerd/containerd.pid containerd"; do
    file=${pair% *}
    [ -e "$file" ] || continue
    is_dockerd "$(cat "$file")" "${pair#* }" && continue
    say "removing $file of an engine that is no more"
    rm -f "$file"
  done
}

# dockerd's own containerd outlives a dockerd that was killed hard; it would be used again.
start() {
  remove_stale
  : >"$log"
  setsid dockerd >>"$log" 2>&1 </dev/null &
  echo $! >"$ours"
  tries=300
  while [ $tries -gt 0 ]; do
    answers && return
    kill -0 "$(cat "$ours")" 2>/dev/null || { tail -n 20 "$log" >&2; die "dockerd ended; see $log"; }
    tries=$((tries - 1))
    sleep 0.2
  done
  die "dockerd does not answer after 60 s; see $log"
}

up() {
  answers && return
  [ $? -ne 13 ] || die "you may not talk to the engine: \`usermod -aG docker $(id -un)\` and log in again, or run as root"
  [ -z "${DOCKER_HOST:-}" ] || die "nothing answers at DOCKER_HOST=$DOCKER_HOST; start that engine, or unset it"
  [ "$(id -u)" -eq 0 ] || die "no Docker engine answers; install and start Docker (Debian: apt-get install docker.io), or run this as root"
  if ! command -v dockerd >/dev/null; then
    command -v apt-get >/dev/null || die "no Docker engine and no apt-get; install Docker for this system and start it"
    say "installing docker.io"
    scripts/apt-install.sh docker.io iptables
    answers && return
  fi
  if [ -d /run/systemd/system ]; then
    systemctl start docker || die "systemd could not start docker; see \`journalctl -u docker\`"
    answers || die "docker was started, and does not answer; see \`journalctl -u docker\`"
    return
  fi
  say "starting dockerd"
  start
}

down() {
  [ -e "$ours" ] || { say "none was started here"; return; }
  pid=$(cat "$ours")
  is_dockerd "$pid" dockerd && kill "$pid"
  while is_dockerd "$pid" dockerd; do sleep 0.2; done
  rm -f "$ours"
}

case ${1:-} in
  up | down) "$1" ;;
  *) die "usage: $0 up|down" ;;
esac
