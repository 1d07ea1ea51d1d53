#!/bin/sh
# Loads each file of TRIALS with nothing but the files of its container image, and writes to OUTPUT
# those that do not load: the number of the line and why, separated by a tab.
# TRIALS (FOLDER, FILE and ARGUMENT of each, separated by tabs; without an argument the image's own
# loader binds the file, with one the program is run) OUTPUT
set -eu
tab="$(printf '\t')"
loader_of() {
    for found in "$1"/lib*/ld-linux*.so.*; do
        [ ! -e "$found" ] || echo "/${found#"$1"/}"
    done | head -n 1
}
number=0
: >"$OUTPUT"
while IFS="$tab" read -r folder file argument; do
    code=0
    if [ -n "$argument" ]; then
        # One that runs on has loaded.
        said="$(timeout 10 chroot "$folder" "/$file" "$argument" </dev/null 2>&1)" || code=$?
    else
        loader="$(loader_of "$folder")"
        said="$(LD_WARN=1 LD_BIND_NOW=1 chroot "$folder" "${loader:-/no-loader}" --list "/$file" \
            </dev/null 2>&1)" || code=$?
    fi
    why="$(echo "$said" | grep -m 1 -e ' not found' -e 'undefined symbol' -e 'cannot open shared' ||
        [ "$code" -lt 126 ] || echo "$said" | tail -n 1)"
    [ -z "$why" ] || printf '%s\t%s\n' "$number" "$why" >>"$OUTPUT"
    number=$((number + 1))
done <"$TRIALS"
