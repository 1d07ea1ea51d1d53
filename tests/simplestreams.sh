# A directory becomes an image server for Incus and LXD. Sourced by ./test.
# shellcheck shell=bash disable=SC2154 # scratch and server are set by ./test

streams=$scratch/streams
tree=$streams/tree
mkdir -p "$streams/root/etc" "$streams/meta"

# A new image each time, which no server has yet.
make_image() {
  date +%s%N >"$streams/root/etc/capn-test" || return
  mksquashfs "$streams/root" "$streams/rootfs.squashfs" -noappend -quiet >/dev/null || return
  printf 'architecture: %s\ncreation_date: %s\nproperties:\n  os: capn\n  release: test\n' \
    "$(uname -m)" "$(date +%s)" >"$streams/meta/metadata.yaml" || return
  tar -cJf "$streams/lxd.tar.xz" -C "$streams/meta" metadata.yaml
}
import() { capn simplestreams import "$tree" "$streams/lxd.tar.xz" "$streams/rootfs.squashfs" --alias capn-t-streams "$@"; }
check 'create an image with two files' make_image
check 'add it to a directory' import
fingerprint=$(capn simplestreams show "$tree" -o json | sed -nE 's/^ *"fingerprint": "([0-9a-f]{64})",?$/\1/p')
is_combined() { [ "$fingerprint" = "$(cat "$streams/lxd.tar.xz" "$streams/rootfs.squashfs" | sha256sum | cut -d' ' -f1)" ]; }
check 'its fingerprint covers both files' is_combined
again() { import -o json | has '"existed": true'; }
check 'it is listed once' again
check 'the directory is valid' capn simplestreams verify "$tree"

# Killed at any moment, a larger import leaves a valid directory.
killed() {
  local pause pid
  truncate -s 400M "$streams/large.squashfs" && printf hsqs | dd of="$streams/large.squashfs" conv=notrunc status=none || return
  for pause in 0.02 0.05 0.1 0.3 0.7; do
    "$capn_bin" simplestreams import "$tree" "$streams/lxd.tar.xz" "$streams/large.squashfs" --product large 2>/dev/null &
    pid=$!
    sleep "$pause"
    kill -9 "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    capn simplestreams verify "$tree" || return
  done
  capn simplestreams import "$tree" "$streams/lxd.tar.xz" "$streams/large.squashfs" --product large &&
    capn simplestreams verify "$tree"
}
check 'a killed import leaves a valid directory, and the next one finishes it' killed
damaged() {
  cp -r "$tree" "$streams/damaged" && printf x | dd of="$(ls "$streams"/damaged/images/*.xz)" bs=1 seek=20 conv=notrunc status=none &&
    ! capn simplestreams verify "$streams/damaged" >"$streams/problems" && has 'item incus.tar.xz: the SHA-256 of images/' "$streams/problems"
}
check 'a damaged file is reported' damaged

if command -v openssl >/dev/null && command -v python3 >/dev/null; then
  serve() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=capn-t \
      -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
      -keyout "$streams/key.pem" -out "$streams/cert.pem" 2>/dev/null || return
    cat >"$streams/serve.py" <<'PY'
import functools, http.server, ssl, sys
folder, key, certificate, port = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
open(port, "w").write(str(server.server_address[1]))
server.serve_forever()
PY
    python3 "$streams/serve.py" "$tree" "$streams/key.pem" "$streams/cert.pem" "$streams/port" >/dev/null 2>&1 &
    web=$!
    until_true 'the web server listens' 10 test -s "$streams/port"
  }
  check 'a web server serves the directory over HTTPS' serve
  url=https://127.0.0.1:$(cat "$streams/port")
  over_https() { SSL_CERT_FILE=$streams/cert.pem capn simplestreams verify "$url"; }
  check 'capn reads every file over HTTPS' over_https
  untrusted() { ! capn simplestreams show "$url"; }
  check 'an untrusted certificate is rejected' untrusted
  # fetch CLIENT: makes the daemon download the image; the request contains the certificate.
  fetch() {
    local body fetched
    body=$(python3 -c 'import json, sys; print(json.dumps({"source": {"type": "image", "mode": "pull", "server": sys.argv[1], "protocol": "simplestreams", "alias": "capn-t-streams", "image_type": "container", "certificate": open(sys.argv[2]).read()}}))' "$url" "$streams/cert.pem") || return
    "$1" query -X POST --wait -d "$body" /1.0/images || return
    fetched=$("$1" query "/1.0/images/$fingerprint")
    "$1" query -X DELETE --wait "/1.0/images/$fingerprint"
    echo "$fetched" | has '"os": *"capn"'
  }
  if [ -n "$server" ]; then
    check 'Incus downloads the image from it' fetch incus
  else
    skip 'Incus downloads the image from it' 'no Incus responds'
  fi
  if lxc query /1.0 >/dev/null 2>&1; then
    check 'LXD downloads the image from it' fetch lxc
  else
    skip 'LXD downloads the image from it' 'no LXD responds'
  fi
  kill "$web"
else
  skip 'images over HTTPS' 'openssl or python3 is not installed'
fi
