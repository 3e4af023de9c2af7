# Prints the server_info of our server: before each text that may be it comes a line with our token. The launcher
# takes the one whose field `token` is ours. $1: the session's own folder. Exit code 0: there is one at least.
# 44: there is none, and no process of a server. 45: there is none, and the server's process lives, or may live.
# Any other: nobody knows. What else is in its folder jupyter is another server's, or left over, or no file at
# all, so only files are read, and only their first 64 KiB.
read_token() { [ -f "$1" ] && _jl_token=$(head -c 128 "$1") && [ "${#_jl_token}" -ge 32 ]; }
found=0
print_if_ours() {
  [ -f "$1" ] && _jl_info=$(head -c 65536 "$1") || return
  case $_jl_info in *"\"$_jl_token\""*"}") printf '%s\n%s\n' "$_jl_token" "$_jl_info" && found=$((found + 1)) ;; esac
}
for folder in "$1" "$1/jupyter"; do
  [ ! -e "$folder" ] && [ "$folder" != "$1" ] && continue
  [ -d "$folder" ] && [ -r "$folder" ] && [ -x "$folder" ] || { echo "$folder cannot be read" >&2; exit 1; }
done
command -v head >/dev/null || exit
pid=
[ ! -f "$1/server.pid" ] || read -r pid <"$1/server.pid"
if read_token "$1/token" 2>/dev/null; then
  print_if_ours "$1/jupyter/jpserver-$pid.json" 2>/dev/null
  # The server's process may be a child of the one that was started.
  for file in "$1"/jupyter/jpserver-*.json; do
    [ "$found" -lt 3 ] || break
    [ "$file" = "$1/jupyter/jpserver-$pid.json" ] || print_if_ours "$file" 2>/dev/null
  done
fi
[ "$found" -eq 0 ] || exit 0
[ -e "$1/server.pid" ] || exit 44
case $pid in "" | *[!0-9]*) exit 45 ;; esac
[ -e /proc/self/stat ] && [ ! -e "/proc/$pid" ] && exit 44
exit 45
