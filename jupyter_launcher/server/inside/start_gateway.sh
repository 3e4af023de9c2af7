# The main process of a gateway of ours, below the engine's init: makes the gateway's token, and becomes the gateway.
# $1: a folder in memory, of this user alone, $2: the pipeline directory, $3: its `device:inode`, or nothing; the rest:
# the gateway's argv, as its image has it.
_jl_run=$1 _jl_folder=$2 _jl_directory=$3
shift 3
# A gateway's own exit codes may be the same, so the launcher goes by the beginning of the last line too.
cd "$_jl_folder" 2>/dev/null || { echo "jupyter-launcher: user $(id -u):$(id -g) of the gateway cannot enter it"; exit 72; }
unset OLDPWD
# As start.sh: the working directory is what the engine mounted at the path that the launcher looked at before.
if [ -n "$_jl_directory" ]; then
  _jl_mounted=$(stat -c %d:%i . 2>/dev/null)
  case $_jl_mounted in
    "$_jl_directory") ;;
    ?*) echo "jupyter-launcher: the launcher looked at directory $_jl_directory, and directory $_jl_mounted is mounted"; exit 71 ;;
    *) echo "nobody looked whether the mounted directory is the one that was asked for: \`stat\` does not work" ;;
  esac
fi
unset _jl_token
_jl_token=
# A restart of the container empties the folder in memory, and the sessions of this gateway know its token.
_jl_kept=${TMPDIR:-/tmp}/.jupyter-launcher-gateway-token
[ ! -f "$_jl_kept" ] || [ ! -O "$_jl_kept" ] || read -r _jl_token <"$_jl_kept"
[ -n "$_jl_token" ] || for _jl_byte in $(od -An -vtx1 -N32 /dev/urandom); do _jl_token=$_jl_token$_jl_byte; done
[ "${#_jl_token}" -eq 64 ] || { echo "no random bytes for a token" >&2; exit 70; }
(umask 077 && printf %s "$_jl_token" >"$_jl_run/token") || exit 70
(umask 077 && echo "$_jl_token" >"$_jl_kept") 2>/dev/null
# The names that Kernel Gateway and Enterprise Gateway know. Both keep them from their kernels.
export KG_AUTH_TOKEN="$_jl_token" EG_AUTH_TOKEN="$_jl_token"
exec "$@"
