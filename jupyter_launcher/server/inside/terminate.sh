# Sends SIGTERM to the server. $1: the session's own folder.
kill -TERM "$(cat "$1/server.pid")"
