# Moves the end of the lease. $1: the session's own folder, $2: seconds from now.
# Exit code 0: it has moved. 3: too late, the session is ending. 4: nobody watches it, so the session does not end by
# itself any more. Any other: it has not moved, or nobody knows.
# The text has a fixed width and is written over the old one, which needs no space in a folder that is full.
# $1: a line of /proc/PID/stat. A process is known by its id (1) and the time of its start (22).
name_process() { set -f; set -- $1; set +f; process="$1 ${22}" state=$3; }
# The process of watch_lease.sh, as start.sh has noted it. A session of an older launcher has no such note.
is_watched() {
  [ -f "$1" ] || return 0
  read -r note <"$1" && [ -n "$note" ] && name_process "$note" || return 0
  watcher=$process
  [ -e "/proc/${watcher%% *}/stat" ] && read -r note <"/proc/${watcher%% *}/stat" && name_process "$note" || return 1
  [ "$process" = "$watcher" ] && [ "$state" != Z ]
} 2>/dev/null
read -r up _ </proc/uptime || exit
end=$((${up%.*} + $2)) tries=20
while [ "$tries" -gt 0 ]; do
  printf '%20d\n' "$end" 1<>"$1/lease"
  code=$?
  # watch_lease.sh writes `closing` before it reads the lease for the last time. So it has read this renewal, or will,
  # unless that is here now.
  state=
  [ ! -f "$1/lease.state" ] || read -r state <"$1/lease.state"
  case $state in
    ended) exit 3 ;;
    none) exit 0 ;; # of a session from a pool, which was claimed without a lease
    open | "")
      [ "$code" -eq 0 ] || exit 1
      is_watched "$1/lease.watcher" && exit 0
      # Its process may just have ended the session.
      [ ! -f "$1/lease.state" ] || read -r state <"$1/lease.state"
      [ "$state" != ended ] || exit 3
      echo "nobody watches the lease" >&2
      exit 4
      ;;
  esac
  sleep 0.1
  tries=$((tries - 1))
done
echo "the session has not decided yet whether it ends" >&2
exit 1
