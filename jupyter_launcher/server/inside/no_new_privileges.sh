# Becomes its command, which no process of the command can leave with more privileges. $1: `weaker` if the command may
# run also where nothing gives that, else nothing; the rest: the command. A swarm's node may leave the option out
# without a word, so this looks whether the kernel has it. Exit code 76: it has not.
_jl_weaker=$1 _jl_held=
shift
while read -r _jl_key _jl_value; do
  case $_jl_key in NoNewPrivs:) _jl_held=$_jl_value && break ;; esac
done </proc/self/status
[ "$_jl_held" != 1 ] || exec "$@"
if [ -z "$_jl_weaker" ]; then
  echo "no-new-privileges is not set in the container" >&2
  exit 76
fi
_jl_seen="the engine of the node gives no service no-new-privileges, so that"
if setpriv --no-new-privs true 2>/dev/null; then
  echo "$_jl_seen only the server has it, by \`setpriv\`, and not what Session.run runs" >&2
  exec setpriv --no-new-privs "$@"
fi
echo "$_jl_seen programs can get more privileges: the image has no \`setpriv\`" >&2
exec "$@"
