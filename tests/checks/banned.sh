#!/bin/sh
# Fails on calls that the house does not allow, outside comments and strings.  usage: banned.sh SOURCE_DIR
# Overflowing or locale-bound calls everywhere; the raw allocator in the rooms, where all memory goes through base's seam.
set -eu
root=${1:?usage: banned.sh SOURCE_DIR}
cd "$root"
find base kernels model privacy protocol client coordinator sim tests examples -name '*.[ch]' | LC_ALL=C sort |
awk '
  # The line without comments and the insides of strings; in_comment carries over lines.
  function code_of(s,   out, i, c, two, quote) {
    out = ""; quote = ""
    for (i = 1; i <= length(s); i++) {
      c = substr(s, i, 1); two = substr(s, i, 2)
      if (in_comment) { if (two == "*/") { in_comment = 0; i++ } continue }
      if (quote != "") {
        if (c == "\\") i++
        else if (c == quote) quote = ""
        continue
      }
      if (two == "/*") { in_comment = 1; i++; continue }
      if (two == "//") break
      if (c == "\"" || c == "\047") { quote = c; continue }
      out = out c
    }
    return out
  }
  BEGIN {
    always = "(^|[^A-Za-z0-9_.>])(sprintf|vsprintf|strcpy|strcat|gets|strtok|atoi|atol|atof|alloca|tmpnam|mktemp)[ \t]*[(]"
    memory = "(^|[^A-Za-z0-9_.>])(malloc|calloc|realloc|free|strdup|asprintf)[ \t]*[(]"
  }
  {
    file = $0; line = 0; in_comment = 0; count++
    rooms = file !~ /^(tests|examples)\// && file != "base/src/mem.c"
    while ((getline text < file) > 0) {
      line++
      if (!in_comment && text !~ /[(]/ && text !~ /\/[*]/) continue
      code = code_of(text)
      if (match(code, always) || (rooms && match(code, memory))) {
        name = substr(code, RSTART, RLENGTH); gsub(/[^a-z]/, "", name)
        printf "%s:%d: %s() is not allowed here\n", file, line, name
        bad++
      }
    }
    close(file)
  }
  END {
    if (count == 0) { print "no sources found"; exit 1 }
    printf "%d files, %d banned calls\n", count, bad
    exit bad > 0
  }'
