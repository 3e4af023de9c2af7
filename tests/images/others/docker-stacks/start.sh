#!/bin/bash
# As a user it sources the hooks and becomes its command; as root it would change the user.
set -e
for hook in /usr/local/bin/before-notebook.d/*.sh; do source "$hook"; done
if [ $# -eq 0 ]; then cmd=(bash); else cmd=("$@"); fi
if [ "$(id -u)" -eq 0 ]; then
  exec setpriv --reuid "${NB_UID}" --regid "${NB_GID}" --clear-groups env HOME=/home/jovyan "${cmd[@]}"
fi
echo "Executing the command: ${cmd[0]}"
exec "${cmd[@]}"
