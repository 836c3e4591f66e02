#!/usr/bin/env bash
# What the machine is, and what it must have: root, a processor we have a program for, Podman, open
# ports on a master.
# shellcheck disable=SC2034 # some variables are for the other files

FORCE=false
ARCH=''      # amd64, arm64 or arm
SYSTEMD=''   # running; offline: installed, as while an image is made; none

require_root() {
    [[ $(id -u) == 0 ]] || fail 'this needs root: it installs a program and a system service' \
        "Start it again with: sudo $0 …"
}

find_processor() {
    local processor
    processor=$(uname -m)
    case $processor in
        x86_64) ARCH=amd64 ;;
        aarch64)
            ARCH=arm64
            # A 64-bit kernel may have 32-bit programs only.
            if [[ $(getconf LONG_BIT 2>/dev/null || true) == 32 ]]; then ARCH=arm; fi
            ;;
        arm*) ARCH=arm ;;
        *) fail "there is no program for the processor $processor: only x86_64, aarch64 and arm" ;;
    esac
}

find_systemd() {
    if ! command -v systemctl >/dev/null; then
        SYSTEMD=none
    elif [[ -d $ROOT/run/systemd/system ]]; then
        SYSTEMD=running
    else
        SYSTEMD=offline
    fi
}

only_one_installer() {
    if command -v flock >/dev/null; then
        exec 9<"$ROOT/etc"
        flock -n 9 || fail 'another installer of PICCOLO is at work: wait until it has ended'
    fi
}

port_answers() { # HOST PORT, in 3 s
    local runner=()
    if command -v timeout >/dev/null; then runner=(timeout 3); fi
    # shellcheck disable=SC2016 # the inner shell's own arguments
    "${runner[@]}" bash -c 'exec 3<>"/dev/tcp/$1/$2"' - "$1" "$2" 2>/dev/null
}

# ---- Podman ----

ensure_podman() {
    local manager
    if command -v podman >/dev/null; then
        unchanged "podman is there"
        return
    fi
    for manager in apt-get dnf yum zypper pacman ''; do
        if [[ -n $manager ]] && command -v "$manager" >/dev/null; then break; fi
    done
    if [[ -n $manager ]]; then
        change "package podman, by $manager" install_podman "$manager"
    else
        no_podman 'there is no podman, and none of apt-get, dnf, yum, zypper and pacman to install it'
    fi
}

install_podman() { # PACKAGE-MANAGER
    export DEBIAN_FRONTEND=noninteractive
    local refresh install code=0
    case $1 in
        apt-get)
            # A machine that has just booted may be updating itself: wait for its lock.
            local apt=(apt-get -o DPkg::Lock::Timeout=120)
            refresh=("${apt[@]}" update)
            # What Podman's bridge networks and pods need, and Debian only recommends.
            install=("${apt[@]}" install -y podman iptables catatonit)
            ;;
        dnf | yum)
            refresh=("$1" check-update)
            install=("$1" install -y podman)
            ;;
        zypper)
            refresh=(zypper --non-interactive refresh)
            install=(zypper --non-interactive install podman)
            ;;
        pacman)
            refresh=(pacman -Sy --noconfirm)
            install=(pacman -S --noconfirm --needed podman)
            ;;
    esac
    "${refresh[@]}" >"$SCRATCH/output" 2>&1 </dev/null || code=$?
    # 100 is how dnf and yum say that there are updates.
    if ((code)) && ! [[ $1 =~ ^(dnf|yum)$ && $code == 100 ]]; then
        warn "$1 could not update its index (no network?): what it knows is tried"
    fi
    quietly "${install[@]}" || no_podman "podman could not be installed by $1"
    hash -r
    if command -v podman >/dev/null; then stays "podman, which $1 installed; it may be removed by it"; fi
}

no_podman() { # WHY
    if $FORCE; then
        warn "$1: no container will run (--force)"
    else
        fail "$1" 'Connect the machine to its package repository, or install podman by hand' \
            '(from a local mirror or a medium), then run this again.'
    fi
}

# ---- firewall ----

ensure_ports_open() { # PORT/PROTOCOL…
    local port
    if firewalld_runs; then
        for port in "$@"; do
            if firewall-cmd --permanent --query-port="$port" >/dev/null 2>&1 &&
                firewall-cmd --query-port="$port" >/dev/null 2>&1; then
                unchanged "firewalld: $port is open"
            else
                change "firewalld: $port is open" open_in_firewalld "$port"
            fi
        done
    elif ufw_runs; then
        for port in "$@"; do
            if open_in_ufw "$port"; then
                unchanged "ufw: $port is open"
            else
                change "ufw: $port is open" allow_in_ufw "$port"
            fi
        done
    else
        say note "no firewalld or ufw at work: if there is another firewall, open $*"
    fi
}

ensure_ports_closed() { # PORT/PROTOCOL…
    local port
    for port in "$@"; do
        if firewalld_runs; then
            if firewall-cmd --permanent --query-port="$port" >/dev/null 2>&1; then
                change "firewalld: $port is no longer open" close_in_firewalld "$port"
            fi
        elif ufw_runs && open_in_ufw "$port"; then
            change "ufw: $port is no longer open" quietly ufw delete allow "$port"
        fi
    done
}

firewalld_runs() { command -v firewall-cmd >/dev/null && firewall-cmd --state >/dev/null 2>&1; }

# `ufw status` succeeds when it is switched off, too.
ufw_runs() { command -v ufw >/dev/null && [[ $(ufw status 2>/dev/null) == *'Status: active'* ]]; }

open_in_ufw() { grep -q "^$1 *ALLOW" <<<"$(ufw status)"; }

# Both for now and for later: a reload would throw away the rules of Podman's networks.
open_in_firewalld() { # PORT/PROTOCOL
    quietly firewall-cmd --permanent --add-port="$1"
    on_undo firewall-cmd --permanent --remove-port="$1"
    quietly firewall-cmd --add-port="$1"
    on_undo firewall-cmd --remove-port="$1"
}

close_in_firewalld() { # PORT/PROTOCOL
    quietly firewall-cmd --permanent --remove-port="$1"
    quietly firewall-cmd --remove-port="$1"
}

allow_in_ufw() { # PORT/PROTOCOL
    quietly ufw allow "$1"
    on_undo ufw delete allow "$1"
}
