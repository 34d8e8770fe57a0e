#!/bin/bash
# Installs the Debian packages given as arguments that are missing here.
# `a|b` is met by either; if neither is there, b is installed.
set -euo pipefail

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "deps: this is no Debian system; install what these packages hold, then go on with" \
        "DEPS=no: $*" >&2
    exit 1
fi

names=()
for wanted in "$@"; do
    names+=(${wanted//|/ })
done
# Exits with 1 whenever a package is unknown to it: which is missing is read from what it prints.
installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "${names[@]}" 2>/dev/null |
    sed -n 's/^installed //p' | tr '\n' ' ') || true

missing=()
for wanted in "$@"; do
    found=
    for name in ${wanted//|/ }; do
        [[ " $installed" == *" $name "* ]] && found=yes
    done
    [[ $found ]] || missing+=("${wanted##*|}")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

become=()
if [[ $(id -u) -ne 0 ]]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing packages, and neither root nor sudo to install them; run as root:" \
            "apt-get install ${missing[*]}" >&2
        exit 1
    fi
    become=(sudo)
fi

echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Only sudo may ask something, for a password, and it asks the terminal.
quietly() {
    if ! "${become[@]}" "$@" >"$log" 2>&1 </dev/null; then
        cat "$log" >&2
        echo "deps: \`$*\` failed; remedy that, or install by hand: ${missing[*]}" >&2
        exit 1
    fi
}
quietly env DEBIAN_FRONTEND=noninteractive apt-get -q update
quietly env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "${missing[@]}"
