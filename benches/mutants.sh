#!/bin/sh
# Mutation score of verify-core's model layer: the share of changes to its code that the tests without a server notice.
#
#     benches/mutants.sh DIRECTORY [option of cargo mutants...]     for example --shard 1/10 --sharding round-robin
#
# Needs cargo-mutants (`cargo install cargo-mutants --locked`). The crate is copied to DIRECTORY without the test dependencies that depend on
# it in turn: those would be compiled again for each mutant. Its results are in DIRECTORY/mutants.out, and docs/testing.md has the score.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
[ $# -gt 0 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1"
copy=$(cd "$1" && pwd)
shift
rm -rf "$copy/crates"
mkdir -p "$copy/crates/verify-core/tests/it"
cd "$here"
cp -R crates/verify-core/src crates/verify-core/Cargo.toml "$copy/crates/verify-core/"
cp -R docs "$copy/"
cp Cargo.lock "$copy/"
sed 's/^members = .*/members = ["crates\/verify-core"]/' Cargo.toml >"$copy/Cargo.toml"
sed -i '/^fixtures\.workspace\|^verify-local\.workspace\|^verify-drill\.workspace\|^\[\[example\]\]/d; /^name = "async_backup_tool"/,/^required/d' \
    "$copy/crates/verify-core/Cargo.toml"
cp -R crates/verify-core/tests/it/engine.rs crates/verify-core/tests/it/manifest.rs crates/verify-core/tests/it/memory.rs \
    crates/verify-core/tests/it/messages.rs crates/verify-core/tests/it/snapshots "$copy/crates/verify-core/tests/it/"
printf 'mod engine;\nmod manifest;\nmod memory;\nmod messages;\n' >"$copy/crates/verify-core/tests/it/main.rs"
cd "$copy"
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 INSTA_UPDATE=no
set -- --in-place --package verify-core --exclude 'crates/verify-core/src/postgres/**' --exclude crates/verify-core/src/asynchronous.rs "$@"
exec cargo mutants "$@"
