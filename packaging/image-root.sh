#!/bin/sh
# image-root.sh PROGRAM ROOT: the files of state-lab's image. PROGRAM is static: there is nothing else in the image to run.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 PROGRAM ROOT" >&2; exit 2; }
program=$1 root=$2

# An interpreter is the dynamic linker, which the image does not have.
if readelf --program-headers "$program" | grep -q INTERP; then
    echo "error: $program is linked dynamically; build it with: RUSTFLAGS='-C target-feature=+crt-static'" \
        "cargo build --release --target x86_64-unknown-linux-gnu -p state-lab" >&2
    exit 1
fi
install -D -m 755 "$program" "$root/usr/local/bin/state-lab"
install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
install -d -m 1777 "$root/tmp"
printf 'root:x:0:0::/root:/bin/sh\nstate-lab:x:65532:65532::/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nstate-lab:x:65532:\n' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
