#!/bin/bash
# Prints a banner, and sources what is in the folder beside.
echo
echo "=== A banner ==="
for part in /opt/nvidia/entrypoint.d/*.sh; do source "$part"; done
if [[ $# -eq 0 ]]; then exec /bin/bash; else exec "$@"; fi
