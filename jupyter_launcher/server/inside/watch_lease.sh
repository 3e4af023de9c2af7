# Ends the session when its lease is not renewed: gracefully, then by force, because a server whose gateway is gone never
# ends when it is asked. README.md beside this file draws the protocol.
# $1: the session's own folder, $2: the lease in seconds, $3: the seconds that are left of it, $4: the text of the last
# renewal, the rest: a Python and its arguments.
run=$1 lease=$2 left=$3 seen=$4
shift 4
# What counts are this process's own waits, so that a suspended machine or a paused container uses up one of them
# at most: a quarter of the lease, and never more than 5 s. Two renewals within a second write the same text.
set_lease() {
  lease=$1
  step=$(((lease + 3) / 4)) whole=$((lease + 1))
  [ "$step" -le 5 ] || step=5
}
set_lease "$lease"

# A shell ends where it can start no process, as at the container's limit of processes. A Python waits in its place then,
# for which it has to start none, and becomes this script again.
go_on='import os, sys, time; time.sleep(int(sys.argv[1])); os.execvp("sh", ["sh", *sys.argv[2:]])'
trap 'exec "$@" -c "$go_on" "$step" "$0" "$run" "$lease" "$((left - step))" "$seen" "$@"' EXIT

end_server() {
  read -r pid <"$run/server.pid"
  kill "-$1" "$pid"
}
has_moved() {
  text=
  [ ! -f "$run/lease" ] || read -r text <"$run/lease"
  [ -n "$text" ] && [ "$text" != "$seen" ] && seen=$text left=$whole
}
# A session from a pool has the pool's lease until its server has answered who claimed it: a claimer that is killed before
# leaves none that goes on. 0: it has none from then on.
take_length() {
  [ -f "$run/answered" ] && [ -f "$run/lease.length" ] && read -r length <"$run/lease.length" && [ "$length" != "$lease" ] || return 0
  [ "$length" != 0 ] || { write_state none; trap - EXIT; exit 0; }
  set_lease "$length"
  left=$whole
}
# Of a fixed width and written over the old one, which needs no space in a folder that is full.
write_state() { printf '%-7s\n' "$1" 1<>"$run/lease.state"; }

state=
[ ! -f "$run/lease.state" ] || read -r state <"$run/lease.state"
if [ "$state" != ended ]; then
  while :; do
    take_length
    has_moved
    if [ "$left" -gt 0 ]; then
      pause=$step
      [ "$left" -ge "$pause" ] || pause=$left
      sleep "$pause" && left=$((left - pause))
      continue
    fi
    # This writes and then reads, and so does a renewal, with the two files the other way round (renew_lease.sh).
    # Whichever comes first: either the renewal is read here, or the renewal finds out that it came too late.
    write_state closing
    has_moved || break
    write_state open
  done
  write_state ended
  echo "the lease was not renewed for $lease s; the session ends"
  end_server TERM
  step=20
  sleep "$step"
fi
end_server KILL
trap - EXIT
