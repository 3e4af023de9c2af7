# Prints the server_info of our server, the one whose token is ours. Exit code 1: there is none.
# $1: the session's own folder. What else is in its folder jupyter is another server's, or left over, or no file at
# all, so only files are read, and only their first 64 KiB.
read_token() { [ -f "$1" ] && _jl_token=$(head -c 64 "$1") && [ "${#_jl_token}" -eq 64 ]; }
print_if_ours() {
  [ -f "$1" ] && _jl_info=$(head -c 65536 "$1") || return
  case $_jl_info in *"\"$_jl_token\""*"}") printf '%s\n' "$_jl_info" && exit ;; esac
}
pid=
{
  read_token "$1/token" || exit
  [ ! -f "$1/server.pid" ] || read -r pid <"$1/server.pid"
} 2>/dev/null
print_if_ours "$1/jupyter/jpserver-$pid.json"
# The server's process may be a child of the one that was started.
for file in "$1"/jupyter/jpserver-*.json; do print_if_ours "$file"; done
exit 1
