#!/bin/sh
# Debian packages by name, as root, without questions; those that are there are left as they are.
set -eu
missing=
for name in "$@"; do
  dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $name"
done
[ -n "$missing" ] || exit 0
[ "$(id -u)" -eq 0 ] || { echo "install these Debian packages as root:$missing" >&2; exit 1; }
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# Names are split on purpose.
# shellcheck disable=SC2086
if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  rm -f "$log"
  exit 1
fi
rm -f "$log"
