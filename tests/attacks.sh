# Attacks on `capn serve` and `capn manager` by tenants, unauthenticated clients and hostile servers: see
# docs/tested/attacks.md. Each runs on loopback with a separate state directory. Attacks of root in a node
# of another cluster are in tests/neighbours.sh. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # capn_bin and e2e_bin are set by ./test

attacks_log=$scratch/attacks.log
# Prints a line for each attack. The test machine is busy with other tests and
# runs a debug build, so time limits are doubled.
"$e2e_bin" attack --capn "$capn_bin" --patience "$((patience * 2))" 2>&1 </dev/null | tee "$attacks_log" | sed 's/^/  /'
attacks_held() { ! grep '^FAIL' "$attacks_log" && has '^[0-9]* attacks in .*, 0 succeeded' "$attacks_log"; }
check 'no attack takes over, crashes or blocks capn' attacks_held
# Each line counts as a check.
passed=$((passed + $(grep -c '^ok ' "$attacks_log" || true)))
failed=$((failed + $(grep -c '^FAIL ' "$attacks_log" || true)))
