# Starts the server, and prints our token and its server_info as soon as it answers; README.md beside this file draws the protocol.
# $1: the session's own folder (in memory, of this user alone), $2: seconds to wait, $3: the lease in
# seconds, 0 for none, $4: the pipeline directory, $5: its `device:inode`, or nothing, $6: `writable` if the server must
# be able to write to it, else nothing, $7: the text of launch.py, $8: `tuned` if that has tunings, else nothing, $9: the
# text of a configuration file, $10: the text of watch_lease.sh, the rest: the server's argv.
# This shell stays as the server's parent and hands its exit code to the supervisor.
# It prints an end of transmission when server_info was printed or cannot come any more; on stderr it
# prints what works but not as asked.
# Names begin with _jl_ where the server, or the environment of a process, could have a variable of that name.
# The server needs the core that this runs on, so: few processes, and no tight polling.
_jl_run=$1 _jl_seconds=$2 _jl_lease=$3 _jl_folder=$4 _jl_directory=$5 _jl_writable=$6
shift 6
_jl_launch=$1 _jl_tuned=$2 _jl_config=$3 _jl_watch=$4
shift 4

# The server works where the engine mounted the pipeline directory. Whether its user can enter, read and write that is
# seen by this user alone: user namespaces, access lists, network file systems and SELinux decide too.
_jl_refuse() { # $1: the exit code, $2: what cannot be done, $3: what was seen
  echo "user $(id -u):$(id -g) of the server cannot $2 it, and there it has mode and owner $(stat -c '%a %u:%g' "$_jl_folder" 2>/dev/null)${3:+ ($3)}" >&2
  exit "$1"
}
cd "$_jl_folder" 2>/dev/null || _jl_refuse 72 enter
unset OLDPWD
# The working directory is what the engine mounted at the path that the launcher looked at before.
if [ -n "$_jl_directory" ]; then
  _jl_mounted=$(stat -c %d:%i . 2>/dev/null)
  case $_jl_mounted in
    "$_jl_directory") ;;
    ?*) echo "the launcher looked at directory $_jl_directory, and directory $_jl_mounted is mounted" >&2; exit 71 ;;
    *) echo "nobody looked whether the mounted directory is the one that was asked for: \`stat\` does not work" >&2 ;;
  esac
fi
# A shell may say "no" by mistake, where a seccomp profile does not know its system call; busybox's goes by the mode alone,
# and says "yes" to uid 0. Then a try decides.
_jl_try=
[ ! "/proc/$$/exe" -ef /bin/busybox ] 2>/dev/null || _jl_try=1
{ [ -z "$_jl_try" ] && [ -r . ]; } || _jl_seen=$(ls 2>&1 >/dev/null) || _jl_refuse 72 read "$_jl_seen"
if [ -n "$_jl_writable" ] && { [ -n "$_jl_try" ] || [ ! -w . ] || [ ! -x . ]; }; then
  _jl_seen=$(mktemp -d ./.jupyter-launcher-XXXXXX 2>&1) || _jl_refuse 73 "write to" "$_jl_seen"
  rmdir "$_jl_seen"
fi

_jl_mask=$(umask)
umask 077
[ ! -e "$_jl_run/jupyter" ] || (cd "$_jl_run" && rm -rf jupyter config launch.py ready reported server.pid exit reason lease lease.state lease.watcher watch_lease.sh)
mkdir "$_jl_run/jupyter" "$_jl_run/config" && mkfifo "$_jl_run/ready" || exit 70
# Whole and without a newline before the server looks: an empty file would switch authentication
# off. Only its path is in the environment.
unset _jl_token JUPYTER_TOKEN
_jl_token=
if [ -f "$_jl_run/given.token" ]; then # the caller's, from take_secrets.sh
  read -r _jl_token <"$_jl_run/given.token"
  rm -f "$_jl_run/given.token"
else
  for _jl_byte in $(od -An -vtx1 -N32 /dev/urandom); do _jl_token=$_jl_token$_jl_byte; done
fi
[ "${#_jl_token}" -ge 32 ] || { echo "no random bytes for a token" >&2; exit 70; }
printf %s "$_jl_token" >"$_jl_run/token" || exit 70
export JUPYTER_TOKEN_FILE="$_jl_run/token" JUPYTER_RUNTIME_DIR="$_jl_run/jupyter"
# The server reads it beside all that it would have read without it.
printf %s "$_jl_config" >"$_jl_run/config/jupyter_server_config.py" || exit 70
export JUPYTER_CONFIG_PATH="$_jl_run/config${JUPYTER_CONFIG_PATH:+:$JUPYTER_CONFIG_PATH}"
# Whether this user can write into a folder, or make it.
_jl_can_write() {
  case $1 in /*) _jl_at=$1 ;; *) return 0 ;; esac
  while [ -n "$_jl_at" ] && [ ! -e "$_jl_at" ]; do _jl_at=${_jl_at%/*}; done
  [ -d "${_jl_at:=/}" ] && [ -w "$_jl_at" ] && [ -x "$_jl_at" ] || return
  [ -z "$_jl_try" ] || { _jl_seen=$(mktemp -d "$_jl_at/.jupyter-launcher-XXXXXX" 2>/dev/null) && rmdir "$_jl_seen"; }
}
# A home that the caller gave: whatever the image makes of HOME.
if [ -n "${_jl_home-}" ]; then
  export HOME="$_jl_home"
  unset _jl_home
  _jl_folder=$HOME
  _jl_seen=$(mktemp -d "$HOME/.jupyter-launcher-XXXXXX" 2>&1) && rmdir "$_jl_seen" || _jl_refuse 75 "write to" "$_jl_seen"
fi
# Jupyter does not start without a HOME that it can write to.
if [ ! -d "${HOME:-/}" ] || [ "${HOME:-/}" = / ] || ! _jl_can_write "$HOME"; then
  for _jl_at in /tmp "${TMPDIR:-/tmp}" /var/tmp /dev/shm; do
    export HOME="$_jl_at/jupyter-home-$$"
    _jl_seen=$(mkdir "$HOME" 2>&1) && break
    HOME=
  done
  [ -n "$HOME" ] || { echo "neither HOME nor /tmp can be written: $_jl_seen" >&2; exit 70; }
fi
# What an image sets for its own user: below HOME is the default of each of these folders. What is in two of them is read
# there all the same.
_jl_out=
for _jl_name in JUPYTER_DATA_DIR JUPYTER_CONFIG_DIR JUPYTERLAB_SETTINGS_DIR JUPYTERLAB_WORKSPACES_DIR IPYTHONDIR \
  MPLCONFIGDIR XDG_CONFIG_HOME XDG_DATA_HOME XDG_CACHE_HOME XDG_STATE_HOME; do
  eval "_jl_value=\${$_jl_name-}"
  [ -n "$_jl_value" ] && ! _jl_can_write "$_jl_value" || continue
  unset "$_jl_name"
  _jl_out="$_jl_out -e $_jl_name"
  case $_jl_name in
    JUPYTER_DATA_DIR) export JUPYTER_PATH="${JUPYTER_PATH:+$JUPYTER_PATH:}$_jl_value" ;;
    JUPYTER_CONFIG_DIR) JUPYTER_CONFIG_PATH=$JUPYTER_CONFIG_PATH:$_jl_value ;;
  esac
done
# The image's gateway is not this session's: kernels would be asked of it. The caller cannot give the first.
_jl_seen=${JUPYTER_GATEWAY_URL-}
case "$*" in *--gateway-url=*) ;; *) _jl_seen=other ;; esac
for _jl_name in URL WS_URL KERNELS_ENDPOINT KERNELSPECS_ENDPOINT KERNELSPECS_RESOURCE_ENDPOINT; do
  [ -z "$_jl_seen" ] || { unset "JUPYTER_GATEWAY_$_jl_name" && _jl_out="$_jl_out -e JUPYTER_GATEWAY_$_jl_name"; }
done

# A user without a line there has no name, and some programs do not work without one. An image may let everyone add it.
if [ -w /etc/passwd ]; then
  _jl_line=session
  while read -r _jl_key _jl_id _jl_rest; do
    case $_jl_key in Uid:) _jl_uid=$_jl_id ;; Gid:) _jl_line="session:x:$_jl_uid:$_jl_id::$HOME:${SHELL:-/bin/sh}" && break ;; esac
  done </proc/self/status
  _jl_id=
  while IFS=: read -r _jl_key _jl_rest _jl_id _jl_rest || [ -n "$_jl_key" ]; do
    [ "$_jl_id" != "$_jl_uid" ] || _jl_line=
    _jl_key= _jl_id=
  done </etc/passwd
  case $_jl_line in session:x:*:*::*:*:* | *"
"*) ;; session:x:*) ({ [ -z "$(tail -c 1 /etc/passwd)" ] || echo; echo "$_jl_line"; } >>/etc/passwd) 2>/dev/null ;; esac
fi

# `jupyter lab` starts a Python only to exec the `jupyter-lab` beside it. Run that directly where `jupyter`
# is jupyter_core's own script, or a link to it.
_jl_jupyter=$(command -v "$1")
[ ! -L "$_jl_jupyter" ] || _jl_jupyter=$(readlink -f "$_jl_jupyter")
_jl_line= _jl_script=
if [ -f "$_jl_jupyter" ] && [ -x "$_jl_jupyter-$2" ]; then
  while read -r _jl_line; do
    case $_jl_line in "from jupyter_core.command import main"*) _jl_script=$_jl_jupyter-$2 && shift 2 && set -- "$_jl_script" "$@" && break ;; esac
  done <"$_jl_jupyter"
fi
is_python() {
  case ${1##*/}:${2-} in python*:* | pypy*:* | env:python*) return 0 ;; esac
  return 1
}
list_names() { cat "/proc/$1/environ" | tr '\n\0' ' \n' | sed 's/=.*//'; }
# The first line of the script names its Python, which runs launch.py, which becomes the script.
set -f # the words of the line, and no names of files
if [ -n "$_jl_script" ]; then
  read -r _jl_line <"$_jl_script"
  case $_jl_line in "#!"*) is_python ${_jl_line#??} || _jl_script= ;; *) _jl_script= ;; esac
fi
if [ -n "$_jl_script" ]; then
  printf %s "$_jl_launch" >"$_jl_run/launch.py" || exit 70
  _jl_python=${_jl_line#??}
  set -- $_jl_python "$_jl_run/launch.py" "$@"
else
  _jl_python=python3
  # What launch.py would do is left undone: its tunings, and to restore the variables that a shell drops.
  _jl_why="\`jupyter lab\` is not run by a Python script of jupyter_core"
  [ -z "$_jl_tuned" ] || echo "the server is not tuned: $_jl_why" >&2
  _jl_kept=$({ list_names self | grep -vxE 'IFS|OPTIND|PPID|PS4'; } 2>/dev/null)
  _jl_main=1
  [ ! -f "$_jl_run/.supervisor" ] || read -r _jl_main <"$_jl_run/.supervisor"
  _jl_lost=$({ list_names "$_jl_main" | grep -vxF -e JUPYTER_TOKEN -e HOSTNAME $_jl_out -e "$_jl_kept"; } 2>/dev/null)
  [ -z "$_jl_lost" ] || echo "variables that no shell keeps do not reach the server, since $_jl_why:" $_jl_lost >&2
fi
set +f
umask "$_jl_mask"

[ -p "$_jl_run/alive" ] || mkfifo -m 600 "$_jl_run/alive" 2>/dev/null || [ -p "$_jl_run/alive" ] || exit 70
exec 9>"$_jl_run/alive"

# The watcher runs in the background, and the server does not: processes that a shell starts in the
# background ignore SIGINT, and so would the server's terminals and kernels.
(
  exec 9>&- 8<>"$_jl_run/ready"
  # The server writes `ready` when it answers (patches/ready_signal.py), the shell below `ended` when the
  # server has ended. This timer is for a server that does not read our configuration, and for the end
  # of the time.
  (
    left=$((_jl_seconds * 5))
    while [ "$left" -gt 0 ] && [ ! -e "$_jl_run/reported" ] && sleep 0.2; do echo tick >&8; left=$((left - 1)); done
    echo late >&8
  ) &
  _jl_info= reason= _jl_old=
  while [ -z "$_jl_info" ] && [ "$reason" != late ] && [ ! -e "$_jl_run/exit" ]; do
    read -r reason <&8
    # Ours is the one with our token; the server writes it in more than one piece. read_server_info.sh does the same.
    for file in "$_jl_run"/jupyter/jpserver-*.json; do
      [ -f "$file" ] && [ -s "$file" ] || continue
      { _jl_text=$(head -c 65536 "$file"); } 2>/dev/null
      case $_jl_text in *"\"$_jl_token\""*"}") _jl_info="$_jl_token
$_jl_text" ;; esac
    done
    # A server before JupyterLab 3 writes another file, and is seen twice.
    if [ -z "$_jl_info" ] && [ -n "$_jl_old" ]; then _jl_info=old-server; fi
    for file in "$_jl_run"/jupyter/nbserver-*.json; do [ ! -f "$file" ] || _jl_old=1; done
    # A server that says that it answers has written its file before.
    [ -n "$_jl_info" ] || [ "$reason" != ready ] || _jl_info=other-token
  done
  # The lease begins before the launcher reads that the server is there. Its text only has to change.
  if [ "$_jl_lease" -gt 0 ]; then
    printf %s "$_jl_watch" >"$_jl_run/watch_lease.sh"
    # A renewal looks whether this process is still there; it becomes watch_lease.sh.
    read -r watcher </proc/self/stat
    echo "$watcher" >"$_jl_run/lease.watcher"
    read -r up _ </proc/uptime
    printf '%20d\n' $((${up%.*} + _jl_lease)) >"$_jl_run/lease"
    printf '%-7s\n' open >"$_jl_run/lease.state"
  fi
  echo "$reason" >"$_jl_run/reported"
  [ -n "$_jl_info" ] || [ ! -s "$_jl_run/reason" ] || read -r _jl_info <"$_jl_run/reason"
  printf '%s\n\004' "$_jl_info"

  [ "$_jl_lease" -gt 0 ] && [ ! -e "$_jl_run/exit" ] || exit
  set -f
  exec sh "$_jl_run/watch_lease.sh" "$_jl_run" "$_jl_lease" $((_jl_lease + 1)) "" $_jl_python >/proc/1/fd/1 2>&1 8>&-
) &
_jl_watcher=$!
exec >/dev/null 2>&1

(
  read -r _jl_pid _jl_rest </proc/self/stat && echo "$_jl_pid" >"$_jl_run/server.pid"
  exec "$@" </dev/null >/proc/1/fd/1 2>/proc/1/fd/2
)
_jl_code=$?

# Why a server ended before it was there, as far as it can be seen here. Nothing of this is run otherwise.
_jl_find_reason() {
  _jl_user=$(id -u) && _jl_user="user $_jl_user" || _jl_user="the session's user"
  if [ -z "$_jl_jupyter" ]; then
    _jl_seen="no \`jupyter\` is on the PATH ($PATH)"
    IFS=:
    for _jl_at in $PATH; do
      [ ! -f "$_jl_at/jupyter" ] || _jl_seen="$_jl_user may not run $_jl_at/jupyter"
      _jl_folder=$_jl_at
      while [ -n "$_jl_at" ] && [ ! -e "$_jl_at" ]; do _jl_at=${_jl_at%/*}; done
      [ -x "${_jl_at:=/}" ] || _jl_seen="$_jl_seen; $_jl_user may not enter $_jl_at, where a folder of the PATH is: $_jl_folder"
    done
    echo "why: $_jl_seen"
    return
  fi
  [ -n "$_jl_script" ] || _jl_script=$_jl_jupyter
  case $_jl_code in
    126 | 127)
      _jl_line=
      read -r _jl_line <"$_jl_script"
      case $_jl_line in "#!"*) ;; *) return ;; esac
      _jl_line=${_jl_line#??} IFS=' '
      set -- $_jl_line
      case $1 in */env) _jl_at=$(command -v "$2") _jl_name=$2 ;; *) _jl_at=$1 _jl_name=$1 ;; esac
      [ ! -L "$_jl_at" ] || _jl_name="$_jl_name ($(readlink "$_jl_at"))"
      if [ ! -e "$_jl_at" ]; then
        echo "why: the first line of $_jl_script names $_jl_name, which is not there, or not for $_jl_user"
      elif [ ! -x "$_jl_at" ]; then
        echo "why: the first line of $_jl_script names $_jl_name, which $_jl_user may not run"
      fi
      ;;
    *)
      [ -e "${_jl_jupyter%/*}/jupyter-lab" ] || command -v jupyter-lab >/dev/null ||
        echo "why: JupyterLab is missing: there is no \`jupyter-lab\` beside $_jl_jupyter or on the PATH; a session needs JupyterLab 3 or newer"
      ;;
  esac
}
set -f
[ "$_jl_code" -eq 0 ] || [ -e "$_jl_run/reported" ] || (_jl_find_reason) >"$_jl_run/reason"
echo "$_jl_code" >"$_jl_run/exit"
echo ended 1<>"$_jl_run/ready"
# The container ends with the line to the supervisor, and everything that runs in it: what is to be read was printed before.
[ -e "$_jl_run/reported" ] || wait "$_jl_watcher"
echo "$_jl_code" >&9
