# Prints which kernels an image has, and what they need. Each line begins with the mark $2, so that nothing else is
# taken for one that an entrypoint prints; the first is "begin", the last "end". What follows the words of a line is a
# path or a name, to the line's end. $1: the program of a command that was given; empty: none was.
# home writable | home closed            whether HOME can be written to
# python VERSION PATH                    a Python 3.8 or newer, with its ipykernel's version or "none"
# spec NAME FOLDER                       a kernel spec, as Jupyter finds it; of two of one name, the first
# own PATH                               the Python of the folder tree in which that spec is
# file NAME                              one of its files, as lines of ":" and base64, or of "x" and hexadecimal
# program WORD                           a word of its, or the given one, which is a program here
# command WORD PATH                      where python3 and python are
exec </dev/null 2>/dev/null
given=$1
mark=$2
names=
examined=
count=0
prefix=
version=
last=
some=
equipped=

say() {
  printf '%s %s\n' "$mark" "$*"
}

# What a path of a Python says of itself comes last: others may print before, as it starts.
ask='
import sys
if sys.version_info < (3, 8):
    sys.exit(1)
from importlib.util import find_spec
try:
    from importlib.metadata import version
    found = version("ipykernel") if find_spec("ipykernel_launcher") else "none"
except Exception:
    found = "none"
sys.stdout.write("//%s %s//%s" % (sys.argv[1], found.split()[0], sys.prefix))
'

# $1: the path of a Python. Its prefix is then in $prefix. A link beside the one before is the same one.
examine() {
  case $examined in
    *"|$1|"*) return ;;
  esac
  case $1 in
    /*) ;;
    *) return ;;
  esac
  examined="$examined|$1|"
  target=$(readlink -f "$1")
  target=${1%/*}/:${target:-$1}
  if [ "$target" != "$last" ]; then
    last=$target
    prefix=
    said=$("$1" -c "$ask" "$mark") || {
      version=
      return
    }
    said=${said##*"//$mark "}
    prefix=${said#*//}
    version=${said%%//*}
  fi
  case $version in
    "") return ;;
    none) ;;
    *) equipped=1 ;;
  esac
  some=1
  say "python $version $1"
}

# $1: a folder of Jupyter's data.
note_specs() {
  case $1 in
    /*) ;;
    *) return ;;
  esac
  for file in "$1"/kernels/*/kernel.json; do
    [ -f "$file" ] && [ -r "$file" ] || continue
    folder=${file%/kernel.json}
    name=${folder##*/}
    case $name in
      *[!A-Za-z0-9._-]*) continue ;;
    esac
    case " $names " in
      *" $name "*) continue ;;
    esac
    [ "$count" -lt 64 ] || continue
    names="$names $name"
    count=$((count + 1))
    eval "folder_$count=\$folder"
  done
}

# Each line is written at once, so that none is cut where an entrypoint prints meanwhile. $1: what it begins with.
say_lines() {
  while IFS= read -r line; do
    say "$1 $line"
  done
}

# $1: the file of a spec, $2: its largest size.
print_file() {
  [ -f "$1" ] && [ -r "$1" ] && [ "$(wc -c <"$1")" -le "$2" ] || return
  say "file ${1##*/}"
  if command -v base64 >/dev/null; then
    base64 <"$1" | say_lines :
  else
    od -An -v -tx1 <"$1" | say_lines x
  fi
}

# Whether a path is a program's, and no word of the shell. Some shells find folders, and files that nobody can run.
is_program() {
  case $1 in
    /*) [ -f "$1" ] && [ -x "$1" ] ;;
    *) false ;;
  esac
}

# The words of a JSON file that are programs. Those with a quote or a backslash in them are passed over.
print_programs() {
  tr ',[]{}' '\n\n\n\n\n' <"$1" | sed -n 's/^[[:space:]]*"\([^"\\]*\)"[[:space:]]*$/\1/p' | while IFS= read -r word; do
    case $word in
      "" | -*) continue ;;
    esac
    path=$(command -v "$word")
    is_program "$path" || continue
    say "program $word"
    case ${word##*/} in
      python*) examine "$path" ;;
    esac
  done
}

say begin
probe=${HOME:-/nowhere}/.$mark
if (: >"$probe"); then
  rm -f "$probe"
  say home writable
else
  say home closed
fi

rest=$JUPYTER_PATH
while [ -n "$rest" ]; do
  note_specs "${rest%%:*}"
  case $rest in
    *:*) rest=${rest#*:} ;;
    *) rest= ;;
  esac
done
note_specs "${JUPYTER_DATA_DIR:-${HOME:-/nowhere}/.local/share/jupyter}"
for word in python3 python; do
  path=$(command -v "$word")
  case $path in
    /*) say "command $word $path" ;;
    *) continue ;;
  esac
  examine "$path"
  [ -z "$prefix" ] || note_specs "$prefix/share/jupyter"
done
jupyter=$(command -v jupyter)
for path in "$jupyter" "$(readlink -f "$jupyter")"; do
  case $path in
    */bin/jupyter) note_specs "${path%/bin/jupyter}/share/jupyter" ;;
  esac
done
[ -z "$CONDA_PREFIX" ] || note_specs "$CONDA_PREFIX/share/jupyter"
note_specs /usr/local/share/jupyter
note_specs /usr/share/jupyter
# Others than those on the PATH are looked at where nothing else runs an agent, or may be a kernel.
if [ -z "$some" ] || [ "$count$equipped" = 0 ]; then
  for path in /usr/bin/python3 /usr/local/bin/python3 /opt/conda/bin/python3; do
    [ ! -x "$path" ] || examine "$path"
  done
fi

number=0
for name in $names; do
  number=$((number + 1))
  eval "folder=\$folder_$number"
  say "spec $name $folder"
  case $folder in
    */share/jupyter/kernels/*)
      for path in "${folder%/share/jupyter/kernels/*}/bin/python3" "${folder%/share/jupyter/kernels/*}/bin/python"; do
        [ -f "$path" ] && [ -x "$path" ] || continue
        say "own $path"
        examine "$path"
        break
      done
      ;;
  esac
  print_file "$folder/kernel.json" 65536
  print_programs "$folder/kernel.json"
  [ "$count" = 1 ] || [ "$name" = python3 ] || continue
  for file in "$folder"/logo-*; do
    case ${file##*/} in
      *[!A-Za-z0-9._-]*) ;;
      *) print_file "$file" 16384 ;;
    esac
  done
done
if [ -n "$given" ]; then
  path=$(command -v "$given")
  if is_program "$path"; then
    say "program $given"
    case ${given##*/} in
      python*) examine "$path" ;;
    esac
  fi
fi
say end
exit 0
