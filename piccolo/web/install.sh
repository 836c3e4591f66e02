#!/bin/sh
# Makes this machine a node of a PICCOLO cluster: fetches the program from the master, and runs the
# installer that comes with it. `piccolo token create --install` prints the line that runs this.
#
# Nothing runs before all of this has arrived: it is called from the last line.
set -eu

version='@VERSION@'
# Where the master was reached, by its address and by the name in its certificate.
master='@MASTER@'
grpc_port='@GRPC_PORT@'
name='@NAME@'
port='@PORT@'
host='@HOST@'
# The master's key and its authority. Whoever got this script over another connection than one that
# was pinned to this key has no reason to believe either of them.
pin='@PIN@'
authority='@AUTHORITY@'
# machine, SHA-256, bytes packed, bytes unpacked
bundles='@BUNDLES@'

attempts=10
pause=2 # s between two of them

usage() {
    cat <<EOF
Usage: curl … https://$host:$port/install.sh | sh -s -- [OPTION…]

Fetches PICCOLO $version from the master at $master and runs its install_nodeagent.sh, which
gets all the options. As root. The most important ones:

  --token TOKEN   to join with; \`piccolo token create --install\` prints the whole line
  --dry-run       only say what would be done
  --help          this text

TMPDIR names where to unpack; else it is the first of /tmp and /var/tmp with enough room.
EOF
}

say() { printf '%s\n' "$*"; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# Prints which bundle is for this machine.
machine() {
    case $(uname -m) in
        x86_64 | amd64) echo amd64 ;;
        aarch64 | arm64)
            # A 64-bit kernel may have 32-bit programs only.
            if [ "$(getconf LONG_BIT 2>/dev/null || echo 64)" = 32 ]; then
                echo arm
            else
                echo arm64
            fi
            ;;
        armv7* | armv8l) echo arm ;;
        *) uname -m ;;
    esac
}

# Prints a new directory in the first place that has $1 bytes left; nothing if there is none.
directory() {
    for place in "${TMPDIR:-}" /tmp /var/tmp; do
        if [ ! -d "$place" ] || [ ! -w "$place" ]; then continue; fi
        left=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
        if [ "${left:-0}" -gt $(($1 / 1024)) ]; then
            mktemp -d "$place/piccolo.XXXXXX"
            return
        fi
    done
}

digest() { # FILE
    if command -v sha256sum >/dev/null; then
        sha256sum "$1" | cut -d ' ' -f 1
    else
        openssl dgst -sha256 -r "$1" | cut -d ' ' -f 1
    fi
}

size() { # FILE
    if [ -f "$1" ]; then wc -c <"$1" | tr -d ' '; else echo 0; fi
}

# One attempt to get the rest of the bundle. By the authority the master is known by name; by its
# key even on a machine whose clock was never set, for which no certificate is valid.
fetch() { # FILE URL-PATH
    code=0
    curl -fsS --connect-timeout 10 --speed-limit 1 --speed-time 60 -C - -o "$1" \
        --cacert "$work/ca.crt" --connect-to "$name:$port:$host:$port" \
        "https://$name:$port/$2" 2>"$work/said" || code=$?
    case $code in
        2 | 51 | 60 | 77) # 2: a curl older than --connect-to
            code=0
            curl -fsS --connect-timeout 10 --speed-limit 1 --speed-time 60 -C - -o "$1" \
                -k --pinnedpubkey "$pin" "https://$host:$port/$2" 2>"$work/said" || code=$?
            ;;
    esac
    return "$code"
}

download() { # FILE URL-PATH BYTES
    attempt=0
    before=0
    while ! fetch "$1" "$2"; do
        now=$(size "$1")
        [ "$now" -lt "$3" ] || break # only the end of the connection was lost
        attempt=$((attempt + 1))
        [ "$now" = "$before" ] || attempt=1
        before=$now
        # What another attempt may mend: connections that fail, break off or hang, a busy master.
        case $code in
            5 | 6 | 7 | 18 | 28 | 35 | 52 | 55 | 56) ;;
            22) grep -q 'error: 503' "$work/said" || attempt=$attempts ;;
            *) attempt=$attempts ;;
        esac
        if [ "$attempt" -ge "$attempts" ]; then
            cat "$work/said" >&2
            die "no bundle from the master at $host:$port: is it running, and does nothing in between" \
                'close that port? If the key or the bundle of the master has changed meanwhile, make' \
                'a new line: piccolo token create --install'
        fi
        say "  it broke off at $now of $3 bytes (curl: $code); going on in $pause s"
        sleep "$pause"
    done
}

main() {
    dry=
    for option; do
        case $option in
            -h | --help)
                usage
                return
                ;;
            --dry-run) dry=yes ;;
        esac
    done
    [ -n "$dry" ] || [ "$(id -u)" = 0 ] ||
        die 'this installs a service: run it as root (… | sudo sh -s -- …)'
    for program in curl tar gzip awk mktemp df; do
        command -v "$program" >/dev/null || die "there is no $program here: install it first"
    done
    command -v sha256sum >/dev/null || command -v openssl >/dev/null ||
        die 'there is no sha256sum here, and no openssl: install one of them first'

    machine=$(machine)
    found=$(printf '%s\n' "$bundles" | awk -v m="$machine" '$1 == m { print $2, $3, $4 }')
    [ -n "$found" ] || die "the master has no bundle for $machine, only for:" \
        "$(printf '%s\n' "$bundles" | awk '{ printf "%s%s", (NR > 1 ? ", " : ""), $1 }')"
    read -r sha256 packed unpacked <<EOF
$found
EOF

    work=$(directory $((packed + unpacked + 1048576)))
    [ -n "$work" ] || die "$(((packed + unpacked) / 1048576 + 1)) MB are needed in /tmp or /var/tmp:" \
        'make room, or name another directory in TMPDIR'
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '%s\n' "$authority" >"$work/ca.crt"

    say "fetching PICCOLO $version for $machine from $host:$port, $((packed / 1048576 + 1)) MB"
    download "$work/bundle.tar.gz" "piccolo-linux-$machine.tar.gz" "$packed"
    [ "$(digest "$work/bundle.tar.gz")" = "$sha256" ] ||
        die 'the bundle is not what the master promised (SHA-256): nothing was installed. Was it' \
            'replaced on the master just now? Then run the same line again'
    tar -xzof "$work/bundle.tar.gz" -C "$work"
    rm "$work/bundle.tar.gz"
    installer=$work/piccolo-$version-linux-$machine/install_nodeagent.sh
    [ -f "$installer" ] || die "the bundle has no install_nodeagent.sh: make it anew (./dev build)"

    # Not by its own rights: /tmp may be mounted noexec.
    shell=bash
    command -v bash >/dev/null || die 'there is no bash here: install it first'
    "$shell" "$installer" "$master" sub "$grpc_port" "$@" </dev/null
}

{
    main "$@"
    exit
}
