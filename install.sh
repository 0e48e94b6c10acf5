#!/bin/sh
# Installs what a fresh Debian machine lacks for `make demo`, `make test` or `make cluster-up`, and prints it. Elsewhere it prints what to install.
set -eu

case "${1:-}" in
    demo) wanted="cc:gcc:libc6-dev initdb:postgresql" ;;
    test) wanted="cc:gcc:libc6-dev initdb:postgresql npm:npm node:nodejs pip:python3-pip unzip:unzip openssl:openssl pgbouncer:pgbouncer promtool:prometheus xmllint:libxml2-utils chromium:chromium buildah:buildah jq:jq zstd:zstd ssh-keygen:openssh-client valgrind:valgrind pgbackrest:pgbackrest barman:barman rsync:rsync" ;;
    cluster) wanted="cc:gcc:libc6-dev promtool:prometheus go:golang-go containerd:containerd runc:runc cni-bridge:containernetworking-plugins
        mkfs.btrfs:btrfs-progs nft:nftables ip:iproute2 sysctl:procps debian-pip:python3-pip
        update-ca-certificates:ca-certificates" ;;
    *) echo "usage: $0 demo|test|cluster" >&2; exit 2 ;;
esac

# Programs outside PATH: initdb on Debian, which has a directory per major version; plugins; modules.
has() {
    case $1 in
        cni-bridge) [ -x /usr/lib/cni/bridge ] && return 0 || return 1 ;;
        debian-pip) /usr/bin/python3 -m pip --version >/dev/null 2>&1 && return 0 || return 1 ;;
    esac
    command -v "$1" >/dev/null 2>&1 && return 0
    [ "$1" = pgbouncer ] && [ -x /usr/sbin/pgbouncer ] && return 0
    [ "$1" = initdb ] || return 1
    for file in /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb /usr/local/pgsql/bin/initdb; do
        [ -x "$file" ] && return 0
    done
    return 1
}

packages=""
for want in $wanted; do
    program=${want%%:*}
    has "$program" || packages="$packages $(echo "${want#*:}" | tr : ' ')"
done
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    echo "error: missing programs; install what your system calls:$packages" >&2
    exit 2
fi
if [ "$(id -u)" -eq 0 ]; then sudo=""; elif command -v sudo >/dev/null 2>&1; then sudo=sudo; else
    echo "error: missing programs; as root run: apt-get install$packages" >&2
    exit 2
fi
echo "installing with apt-get:$packages" >&2
$sudo apt-get update -qq
# A server that is started by the installation is not needed, and none is started where there is no init system.
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $packages >/dev/null
