# Attacks on `capn serve` and `capn manager`, as a tenant, as a stranger and as a hostile server: see
# docs/security-attacks.md. Each is on loopback, with a state folder of its own. Root in a node of
# another cluster is in tests/neighbours.sh. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # capn_bin and e2e_bin are set by ./test

attacks_log=$scratch/attacks.log
# Its lines are shown as they come: one for each attack. The tests' machine does other things too, and
# runs a debug build: a second may be two.
"$e2e_bin" attack --capn "$capn_bin" --patience "$((patience * 2))" 2>&1 </dev/null | tee "$attacks_log" | sed 's/^/  /'
attacks_held() { ! grep '^FAIL' "$attacks_log" && has '^[0-9]* attacks in .*, 0 found' "$attacks_log"; }
check 'no attack owns, ends or blinds capn' attacks_held
# Each line is a check of its own.
passed=$((passed + $(grep -c '^ok ' "$attacks_log" || true)))
failed=$((failed + $(grep -c '^FAIL ' "$attacks_log" || true)))
