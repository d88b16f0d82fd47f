#!/bin/sh
# Fails when clang-format 14 would change a file; skipped (77) when that version is missing.  usage: format.sh SOURCE_DIR
set -eu
root=${1:?usage: format.sh SOURCE_DIR}
tool=
for name in clang-format-14 clang-format; do
  if command -v "$name" >/dev/null 2>&1 && "$name" --version | grep -q 'version 14\.'; then
    tool=$name
    break
  fi
done
if [ -z "$tool" ]; then
  echo "skipped: clang-format 14 is not installed (apt-get install clang-format); other versions format differently"
  exit 77
fi
cd "$root"
find base kernels model privacy protocol client coordinator sim tests examples -name '*.[ch]' |
  LC_ALL=C sort | xargs "$tool" --dry-run --Werror
echo "formatted as .clang-format says"
