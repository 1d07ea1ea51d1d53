#!/bin/sh
# Process 1 of a build step's own process namespace. Runs "$@" and ends with it; standard input
# is held open by the builder, so that its end, whatever ended it, ends the step as well and
# with it the namespace: nothing stays mounted or running.
exec 3<&0 </dev/null
"$@" &
step=$!
(
    cat <&3 >/dev/null
    kill -KILL "$step"
) 2>/dev/null &
exec 3<&-
wait "$step"
