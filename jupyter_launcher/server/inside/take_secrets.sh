# Writes secrets to files that only this user can read, and becomes the command, whose environment has none of them.
# $1: the session's own folder, $2: the files below it, with a space between; the rest: the command.
# The value for the first file is in the variable _jl_secret_1, and so on.
_jl_run=$1 _jl_files=$2 _jl_number=0
shift 2
set -f
# Taken out of the environment before any process is started. A variable of the shell alone is in no environment.
for _jl_file in $_jl_files; do
  _jl_number=$((_jl_number + 1))
  eval "unset _jl_value_$_jl_number; _jl_value_$_jl_number=\$_jl_secret_$_jl_number; unset _jl_secret_$_jl_number"
done
set +f
_jl_mask=$(umask)
umask 077
# What an earlier start has left.
[ ! -e "$_jl_run/secrets" ] && [ ! -e "$_jl_run/gateway.token" ] || rm -rf "$_jl_run/secrets" "$_jl_run/gateway.token"
mkdir "$_jl_run/secrets" || exit 70
set -f
_jl_number=0
for _jl_file in $_jl_files; do
  _jl_number=$((_jl_number + 1))
  eval "printf %s \"\$_jl_value_$_jl_number\"" >"$_jl_run/$_jl_file" || exit 70
done
set +f
umask "$_jl_mask"
exec "$@"
