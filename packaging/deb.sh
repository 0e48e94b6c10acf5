#!/bin/sh
# deb.sh PROGRAM DIRECTORY: packs the program, its manual pages and completions as state-lab_VERSION_ARCH.deb in DIRECTORY.
set -eu
[ $# -eq 2 ] || { echo "usage: $0 PROGRAM DIRECTORY" >&2; exit 2; }
program=$1 directory=$2
clone=$(cd "$(dirname "$0")/.." && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

version=$("$program" --version | cut -d ' ' -f 2)
arch=$(dpkg --print-architecture)
install -D -m 755 "$program" "$root/usr/bin/state-lab"
strip "$root/usr/bin/state-lab"
# kubectl finds it by this name: kubectl state-lab
ln -s state-lab "$root/usr/bin/kubectl-state_lab"
man=$root/usr/share/man/man1
bash=$root/usr/share/bash-completion/completions zsh=$root/usr/share/zsh/vendor-completions
fish=$root/usr/share/fish/vendor_completions.d doc=$root/usr/share/doc/state-lab
install -d "$man" "$bash" "$zsh" "$fish" "$doc"
"$program" man "$man"
gzip -9n "$man"/*
"$program" completions bash >"$bash/state-lab"
"$program" completions zsh >"$zsh/_state-lab"
"$program" completions fish >"$fish/state-lab.fish"
install -m 644 "$clone/LICENSE" "$doc/copyright"
gzip -9nc "$clone/CHANGELOG.md" >"$doc/changelog.gz"
cp "$clone"/docs/*.md "$doc/"

# A program that is not static runs with the libraries of this machine, or newer ones.
depends=""
if readelf --program-headers "$program" | grep -q INTERP; then
    depends="Depends: libc6 (>= $(dpkg-query -W -f '${Version}' libc6)), libgcc-s1"
fi
install -d "$root/DEBIAN"
sed '/^$/d' >"$root/DEBIAN/control" <<END
Package: state-lab
Version: $version
Architecture: $arch
Maintainer: ${DEBFULLNAME:-state-lab} <${DEBEMAIL:-state-lab@localhost}>
Installed-Size: $(du -sk "$root" | cut -f 1)
$depends
Recommends: postgresql, ca-certificates
Section: database
Priority: optional
Description: backup, restore and failover drills for PostgreSQL that verify every row
 state-lab verifies that a restored PostgreSQL database is the one that was
 backed up: every row, key and sequence. It reports which rows were lost, how
 much time was lost and how long the restore took.
END
chmod -R g-w "$root"
dpkg-deb --root-owner-group -Zgzip --build "$root" "$directory/state-lab_${version}_$arch.deb"
