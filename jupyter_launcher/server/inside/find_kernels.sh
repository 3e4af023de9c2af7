# Prints the ids of the kernels whose environment holds the line $1, in a gateway's container.
# The argv of this script holds the line too, its environment does not.
# grep fails also where a process ended meanwhile or is another user's. That it could search is seen by its last
# line: its standard input holds the line $1 in any case.
files=$(printf '%s\0' "$1" | LC_ALL=C grep -lzxF "$1" /proc/[0-9]*/environ - 2>/dev/null)
code=$?
case $files in
  *"(standard input)") files=${files%"(standard input)"} ;;
  *) echo "\`grep -z\` does not work" >&2; [ "$code" -gt 1 ] || code=2; exit "$code" ;;
esac
ids=
for file in $files; do
  ids="$ids $(tr '\0' '\n' 2>/dev/null <"$file" | sed -n 's/^KERNEL_ID=//p')" || exit
done 2>/dev/null
printf '%s\n' $ids | sort -u
