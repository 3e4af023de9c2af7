# Runs the Python script $1 with the arguments that follow: by python3, or, where that is not on the PATH, by the Python
# of a process that runs here, such as the gateway itself.
python=$(command -v python3) || for link in /proc/[0-9]*/exe; do
  python=$(readlink "$link" 2>/dev/null)
  case ${python##*/} in python*) [ ! -x "$python" ] || break ;; esac
  python=
done
[ -n "$python" ] || { echo "no Python is here" >&2; exit 127; }
# Neither the environment nor a file of the user's changes what it imports.
exec "$python" -I -S -c "$@"
