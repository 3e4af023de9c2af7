# Prints the ids of the kernels whose environment holds the line $1, in a gateway's container.
# The argv of this script holds the line too, its environment does not.
for file in $(grep -lzxF "$1" /proc/[0-9]*/environ 2>/dev/null); do
  tr '\0' '\n' <"$file" 2>/dev/null | sed -n 's/^KERNEL_ID=//p'
done | sort -u
