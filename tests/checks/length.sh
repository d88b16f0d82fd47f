#!/bin/sh
# Fails on a source file of more than 700 lines, and on one whose first line does not say what it does.  usage: length.sh SOURCE_DIR
set -eu
root=${1:?usage: length.sh SOURCE_DIR}
cd "$root"
find base kernels model privacy protocol client coordinator sim tests examples -name '*.[ch]' | LC_ALL=C sort |
awk '
  {
    file = $0; lines = 0; count++
    while ((getline text < file) > 0)
      if (++lines == 1 && text !~ /^\/\*/) {
        printf "%s:1: the first line must be a comment that says what the file does\n", file
        bad++
      }
    close(file)
    if (lines > 700) { printf "%s: %d lines, at most 700 are allowed\n", file, lines; bad++ }
  }
  END { printf "%d files, %d problems\n", count, bad; exit bad > 0 || count == 0 }'
