#!/bin/sh
# Tries the two commands on a machine that has nothing: debootstrap's minimal Debian 12, by chroot, from the last commit.
#
#     tests/fresh_machine.sh [COMMAND...]      without COMMAND: ./dev setup, again, and ./dev test
#
# Needs root, git and debootstrap, and 2 GB below TMPDIR (/var/tmp). All mounts and processes are in namespaces of this script's
# own and end with it, also when it is killed; then only the folder is left. KEEP=1 leaves it on purpose.
set -eu
cd -- "$(dirname -- "$(readlink -f -- "$0")")/.."

if [ "${1:-}" != --inside ]; then
    root=$(mktemp -d "${TMPDIR:-/var/tmp}/romana-fresh.XXXXXX")
    chmod 755 "$root" # apt's own user must reach it
    trap '[ -n "${KEEP:-}" ] || rm -rf --one-file-system "$root"' EXIT
    trap 'exit 130' INT TERM
    debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || { cat "$root.log" && exit 1; }
    rm "$root.log"
    git clone -q --no-hardlinks . "$root/romana"
    [ ! -d ../shared ] || cp -r ../shared "$root/" # reference cases; the tests that need them are skipped without
    # What this machine needs to reach the package registries, the new one needs too.
    cp /etc/resolv.conf "$root/etc/"
    mkdir -p "$root/usr/local/share/ca-certificates" "$root/etc/ssl/certs"
    cp /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || :
    [ -z "${SSL_CERT_FILE:-}" ] || install -D "$SSL_CERT_FILE" "$root$SSL_CERT_FILE"
    rc=0
    unshare --mount --pid --fork --kill-child tests/fresh_machine.sh --inside "$root" "$@" || rc=$?
    exit $rc
fi

root=$2
shift 2
[ $# -gt 0 ] || set -- sh -c './dev setup && ./dev setup && ./dev test'
mount --bind "$root" "$root" # `ip netns` wants to stand on a mount
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
began=$(date +%s) rc=0
chroot "$root" /bin/sh -c 'cd /romana && exec "$@"' sh "$@" </dev/null || rc=$?
echo "fresh machine: exit code $rc after $(($(date +%s) - began)) s"
exit $rc
