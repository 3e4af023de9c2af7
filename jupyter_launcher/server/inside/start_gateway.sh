# The main process of a gateway of ours, below the engine's init: makes the gateway's token, and becomes the gateway.
# $1: a folder in memory, of this user alone; the rest: the gateway's argv, as its image has it.
_jl_run=$1
shift
unset _jl_token
_jl_token=
for _jl_byte in $(od -An -vtx1 -N32 /dev/urandom); do _jl_token=$_jl_token$_jl_byte; done
[ "${#_jl_token}" -eq 64 ] || { echo "no random bytes for a token" >&2; exit 70; }
(umask 077 && printf %s "$_jl_token" >"$_jl_run/token") || exit 70
# The names that Kernel Gateway and Enterprise Gateway know. Both keep them from their kernels.
export KG_AUTH_TOKEN="$_jl_token" EG_AUTH_TOKEN="$_jl_token"
exec "$@"
