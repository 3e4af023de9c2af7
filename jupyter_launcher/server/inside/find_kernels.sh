# Prints a line for each process whose environment holds the line $1, in a gateway's container: the id of its kernel,
# the id of the kernel's start, when its connection file was made, and when the process started. What is not there
# is a dash. A kernel that was restarted has the same file, and processes that it started have its environment.
# The argv of this script holds the line $1 too, its environment does not.
# grep fails also where a process ended meanwhile or is another user's. That it could search is seen by its last
# line: its standard input holds the line $1 in any case.
files=$(printf '%s\0' "$1" | LC_ALL=C grep -lzxF "$1" /proc/[0-9]*/environ - 2>/dev/null)
code=$?
case $files in
  *"(standard input)") files=${files%"(standard input)"} ;;
  *) echo "\`grep -z\` does not work" >&2; [ "$code" -gt 1 ] || code=2; exit "$code" ;;
esac
set -f
for file in $files; do
  process=${file%/environ}
  found=$(tr '\0' '\n' 2>/dev/null <"$file" | sed -n -e 's/^KERNEL_ID=/id /p' -e 's/^KERNEL_JUPYTER_LAUNCHER_START=/start /p') || exit
  id= start=- made=- started=-
  set -- $found
  while [ $# -gt 1 ]; do
    case $1 in id) id=$2 ;; start) start=$2 ;; esac
    shift 2
  done
  [ -n "$id" ] || continue # it has ended, or is no kernel's
  connection=$(tr '\0' '\n' 2>/dev/null <"$process/cmdline" | sed -n '/^\/.*\.json$/{p;q;}')
  [ -z "$connection" ] || made=$(stat -c %.9Y "$connection")
  case $made in *[!0-9.]* | *.*.* | "") made=- ;; *.*) ;; *) made=- ;; esac # not every `stat` knows fractions
  # The name of the program, in brackets, may have spaces; after it comes the third field.
  read -r stat <"$process/stat" && set -- ${stat##*) } && started=${20}
  echo "$id $start $made $started"
done 2>/dev/null
exit 0
