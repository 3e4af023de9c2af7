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
! setpriv --no-new-privs true 2>/dev/null || exec setpriv --no-new-privs "$@"
echo "programs of the image can get more privileges: its node's engine gives no service no-new-privileges, and the image has no \`setpriv\`" >&2
exec "$@"
