#!/bin/sh
# Reads every #include of the rooms and fails on an arrow that rooms.txt forbids.  usage: includes.sh SOURCE_DIR [TABLE]
set -eu
root=${1:?usage: includes.sh SOURCE_DIR [TABLE]}
here=$(cd "$(dirname "$0")" && pwd)
table=${2:-$here/rooms.txt}
cd "$root"

rooms=$(sed -n 's/^\([a-z]*\):.*/\1/p' "$table")
dirs=
for room in $rooms; do
  if [ -d "$room" ]; then dirs="$dirs $room"; fi
done
# shellcheck disable=SC2086 # the names are words of our own table
find $dirs -name '*.[ch]' | LC_ALL=C sort | awk -v table="$table" '
  function glob_match(path, globs,   n, i, parts, g) {
    n = split(globs, parts, " ")
    for (i = 1; i <= n; i++) {
      g = parts[i]
      gsub(/[.+]/, "[&]", g)
      gsub(/[*]/, ".*", g)
      if (path ~ ("^" g "$")) return 1
    }
    return 0
  }
  function forbid(why) { printf "%s:%d: %s\n", file, line, why; bad++ }
  function check(text,   name, owner) {
    name = text
    sub(/^[ \t]*#[ \t]*include[ \t]*/, "", name)
    if (name ~ /^</) {
      sub(/>.*/, ">", name)
      if ((name in library) && !glob_match(file, library[name]))
        forbid(name " is allowed only in " library[name])
      return
    }
    sub(/^"/, "", name); sub(/".*/, "", name)
    if (name ~ /(^|\/)\.\.(\/|$)/) { forbid("\"" name "\" climbs out of its folder"); return }
    if (name !~ /^sotto\//) {
      owner = name; sub(/\/.*/, "", owner)
      if (name ~ /\// && (owner in allowed) && owner != room)
        forbid("\"" name "\" is private to " owner)
      return
    }
    owner = owner_of[name]
    if (owner == "") forbid("\"" name "\" lies in no public header folder")
    else if (owner != room && !index(allowed[room], " " owner " "))
      forbid(room " may not include " owner ": \"" name "\"")
  }
  BEGIN {
    while ((getline text < table) > 0) {
      if (text ~ /^#/ || text !~ /:/) continue
      key = text; sub(/:.*/, "", key)
      rest = text; sub(/^[^:]*:[ \t]*/, "", rest)
      if (key ~ /^</) library[key] = rest
      else { gsub(/[ \t]+/, " ", rest); allowed[key] = " " rest " " }
    }
  }
  {
    files[++count] = $0
    if (match($0, /\/include\/sotto\//)) {
      name = substr($0, RSTART + length("/include/"))
      first = $0; sub(/\/.*/, "", first)
      owner_of[name] = first
    }
  }
  END {
    for (i = 1; i <= count; i++) {
      file = files[i]; room = file; sub(/\/.*/, "", room); line = 0
      while ((getline text < file) > 0) {
        line++
        if (text ~ /^[ \t]*#[ \t]*include[ \t]*["<]/) check(text)
      }
      close(file)
    }
    if (count == 0) { print "no sources found"; exit 1 }
    printf "%d files, %d forbidden includes\n", count, bad
    exit bad > 0
  }'
