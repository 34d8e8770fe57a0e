#!/bin/bash
# usage: fresh.sh DIRECTORY SUITE
#
# Proves the commands of README.md in a minimal Debian that has only what README.md presupposes: a
# clone of HEAD, once for `make demo` (twice in a row) and once, in another fresh system, for
# `make test`. DIRECTORY keeps the base system and the packages that were downloaded, for next time.
#
# Each command runs in a mount and a process namespace of its own: what it mounts and starts is gone
# when it ends, however it ends.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$1
suite=$2
presupposed=make,git,ca-certificates

if [[ $(id -u) -ne 0 ]]; then
    echo "fresh: only root can make a system to test in; run: sudo make fresh" >&2
    exit 1
fi
deploy/debian-deps.sh debootstrap util-linux
mkdir -p "$work/packages-$suite"
root=$work/root-$suite.$$
trap 'rm -rf --one-file-system "$root"' EXIT
trap 'exit 130' INT TERM

# Where this host gets Debian from, the fresh system does too.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' |
    grep -E '^https?:' | head -n 1) || true
mirror=${mirror:-http://deb.debian.org/debian}

base=$work/base-$suite.tar
if [[ ! -e $base ]]; then
    echo "fresh: making a base system of $suite from $mirror"
    if ! debootstrap --variant=minbase --include="$presupposed" "$suite" "$root" "$mirror" \
        >"$work/debootstrap.log" 2>&1; then
        tail -n 20 "$work/debootstrap.log" "$root/debootstrap/debootstrap.log" >&2 || true
        echo "fresh: debootstrap failed; is $suite to be had from $mirror?" >&2
        exit 1
    fi
    rm -f "$root"/var/cache/apt/archives/*.deb
    tar -C "$root" -cf "$base.part" .
    mv "$base.part" "$base"
    rm -rf --one-file-system "$root"
fi

# The way to the network is the host's business: its resolver, its proxy, the authorities it trusts.
adopt_network() {
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    grep -lE '^ *Acquire::' /etc/apt/apt.conf.d/* /etc/apt/apt.conf 2>/dev/null |
        xargs -r cp -t "$root/etc/apt/apt.conf.d/" || true
    if [[ -e /etc/ssl/certs/ca-certificates.crt ]]; then
        cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    fi
}

# Runs inside the new namespaces.
enter() {
    set -euo pipefail
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    local device
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s /proc/self/fd/0 "$root/dev/stdin"
    ln -s /proc/self/fd/1 "$root/dev/stdout"
    ln -s /proc/self/fd/2 "$root/dev/stderr"
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs tmpfs "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    mount --bind "$work/packages-$suite" "$root/var/cache/apt/archives"
    local environment=(HOME=/root LANG=C.UTF-8 TERM=dumb
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
    local name
    for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
        [[ -z ${!name:-} ]] || environment+=("$name=${!name}")
    done
    # The shell stays, as the one who reaps what others leave.
    exec chroot "$root" env -i "${environment[@]}" \
        bash -c 'cd /root/c4p && "$@"; exit "$?"' fresh "$@" </dev/null
}
export -f enter
export root work suite

in_namespaces() {
    unshare --mount --pid --fork --kill-child bash -c 'enter "$@"' enter "$@"
}

make_system() {
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    tar -C "$root" -xf "$base"
    adopt_network
    git clone -q --no-hardlinks . "$root/root/c4p"
}

expect_clean_tree() {
    local written
    written=$(git -C "$root/root/c4p" status --porcelain)
    if [[ $written ]]; then
        echo "fresh: $1 left this in the source tree: $written" >&2
        exit 1
    fi
}

prove() {
    echo "fresh: $suite: $*"
    local start=$SECONDS
    if ! in_namespaces "$@"; then
        echo "fresh: $suite: \`$*\` failed" >&2
        exit 1
    fi
    expect_clean_tree "\`$*\`"
    echo "fresh: $suite: \`$*\` succeeded in $((SECONDS - start)) s"
}

make_system
prove make demo
prove make demo
make_system
prove make test
