# Prints the token of a gateway of ours. $1: the folder in memory, where start_gateway.sh has put it.
[ -f "$1/token" ] && head -c 64 "$1/token"
