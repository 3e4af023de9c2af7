# Moves the end of the lease. $1: the session's own folder, $2: seconds from now.
# Exit code 0: it has moved. 3: too late, the session is ending. Any other: it has not moved, or nobody knows.
# The text has a fixed width and is written over the old one, which needs no space in a folder that is full.
read -r up _ </proc/uptime || exit
end=$((${up%.*} + $2)) tries=20
while [ "$tries" -gt 0 ]; do
  printf '%20d\n' "$end" 1<>"$1/lease"
  code=$?
  # start.sh renames first and reads then, so it has read this renewal, or will, if neither new name is there, looked
  # for in the order in which start.sh makes them. The last look finds a text that went to a file of no name.
  if [ ! -e "$1/lease.closing" ]; then
    [ ! -e "$1/lease.ended" ] || exit 3
    [ "$code" -eq 0 ] || exit 1
    read -r text <"$1/lease"
    [ "${text:-0}" -lt "$end" ] || exit 0
  fi
  sleep 0.1
  tries=$((tries - 1))
done
echo "the session has not decided yet whether it ends" >&2
exit 1
