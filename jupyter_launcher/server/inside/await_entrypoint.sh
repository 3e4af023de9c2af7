# Waits until the image's ENTRYPOINT has run supervise.sh, and becomes start.sh in the environment and with the file mode
# mask that it left. $1: the session's own folder, $2: seconds for all, $3: the text of start.sh, the rest: its arguments
# from the third on. The first line on stderr is `entered` as soon as the ENTRYPOINT has run supervise.sh. It ends with exit
# code 74 where that does not happen in time.
_jl_run=$1 _jl_seconds=$2 _jl_text=$3
shift 3
_jl_look() { read -r _jl_up _jl_rest </proc/uptime && _jl_up=${_jl_up%.*}; }
_jl_look
_jl_end=$((_jl_up + _jl_seconds))
until [ -p "$_jl_run/alive" ]; do # made after .supervisor
  _jl_look
  [ "$_jl_up" -lt "$_jl_end" ] || exit 74
  sleep 0.05 || sleep 1
done
echo entered >&2
{ read -r _jl_main && read -r _jl_mask; } <"$_jl_run/.supervisor" || exit 70

# `docker stop` reaches the child of the engine's init, so each process between that and supervise.sh has to pass SIGTERM
# on. One that neither catches nor blocks it ends of it at once, and everything else with it. An init that waits for its
# signals has none of them blocked meanwhile, so these go by their names.
_jl_process=$_jl_main
while [ "${_jl_process:-0}" -gt 1 ]; do
  _jl_parent= _jl_name= _jl_takes=
  while read -r _jl_key _jl_value; do
    case $_jl_key in
      Name:) _jl_name=$_jl_value ;;
      PPid:) _jl_parent=$_jl_value ;;
      SigBlk: | SigCgt:) case $_jl_value in *[4567cdef]???) _jl_takes=1 ;; esac ;;
    esac
  done 2>/dev/null <"/proc/$_jl_process/status"
  case $_jl_name in *tini* | *-init | init | catatonit | s6-*) _jl_takes=1 ;; esac
  [ "$_jl_process" = "$_jl_main" ] || [ -n "$_jl_takes" ] || [ -z "$_jl_name" ] ||
    echo "\`docker stop\` does not end this session gracefully: \`$_jl_name\` of the image's ENTRYPOINT does not pass SIGTERM on (let it \`exec\` its command)" >&2
  _jl_process=$_jl_parent
done

# A line for each variable; newlines in it are the byte 1.
(umask 077 && tr '\n\000' '\001\n' <"/proc/$_jl_main/environ" >"$_jl_run/environment") || exit 70
_jl_look
_jl_left=$((_jl_end - _jl_up))
[ "$_jl_left" -gt 0 ] || _jl_left=1
# launch.py restores what is left out here: names that no shell takes, and variables that a shell sets anew.
exec env -i "PATH=$PATH" ${_jl_home:+"_jl_home=$_jl_home"} sh -c '
_jl_run=$1 _jl_left=$2 _jl_mask=$3 _jl_text=$4
shift 4
_jl_one=$(printf "\001") _jl_newline="
"
while IFS= read -r _jl_entry; do
  _jl_name=${_jl_entry%%=*} _jl_rest=${_jl_entry#*=} _jl_value=
  case $_jl_name in
    "" | [0123456789]* | *[!_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ]*) continue ;;
    IFS | OPTIND | PPID | PS4 | UID | EUID | SHELLOPTS | BASHOPTS | BASH_VERSINFO | _jl_*) continue ;;
  esac
  while :; do
    case $_jl_rest in
      *"$_jl_one"*) _jl_value=$_jl_value${_jl_rest%%"$_jl_one"*}$_jl_newline _jl_rest=${_jl_rest#*"$_jl_one"} ;;
      *) break ;;
    esac
  done
  export "$_jl_name=$_jl_value$_jl_rest"
done <"$_jl_run/environment"
umask "$_jl_mask"
exec sh -c "$_jl_text" start "$_jl_run" "$_jl_left" "$@"' await "$_jl_run" "$_jl_left" "$_jl_mask" "$_jl_text" "$@"
