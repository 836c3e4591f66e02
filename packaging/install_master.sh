#!/usr/bin/env bash
# Makes this machine the master of a PICCOLO cluster, upgrades it, or takes that back.
#
# Everything comes from one bundle, which the master then gives to the nodes. A second run changes
# nothing. What fails is taken back: see lib/journal.sh.
set -euo pipefail
umask 022

HERE=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=packaging/lib/all.sh
. "$HERE/lib/all.sh"

UNIT=piccolo-master.service
AGENT_UNIT=nodeagent.service
INSTALL_PORT=50052
LISTEN_PATIENCE=30   # s

CLUSTER=''   # not given: what the settings say
LISTEN=''
HOST=''      # of the address that holds
PORT=''

usage() {
    cat <<END
usage: ${0##*/} [options]
       ${0##*/} --uninstall [--purge [--yes]]

Makes this machine the master of a cluster, and prints how nodes join it.

  --cluster NAME   what the cluster is called
  --listen ADDR:PORT   where it listens; without, on every address, port 50051
$COMMON_USAGE
END
}

read_command_line() {
    while (($#)); do
        if [[ $1 == --*=* ]]; then set -- "${1%%=*}" "${1#*=}" "${@:2}"; fi
        take_common "$@"
        if ! ((TAKEN)); then
            case $1 in
                --cluster) take_value "$@" && CLUSTER=$2 ;;
                --listen) take_value "$@" && LISTEN=$2 ;;
                *) wrong_usage "unknown: $1" ;;
            esac
        fi
        shift "$TAKEN"
    done
    check_common
    [[ -z $CLUSTER || $CLUSTER =~ ^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$ ]] ||
        wrong_usage "$CLUSTER is no name: lower-case letters, digits and -, at most 63"
    if [[ -n $LISTEN ]]; then
        split_address "$LISTEN"
        if ! is_host "$HOST" || ! is_port "$PORT"; then wrong_usage "$LISTEN is not ADDR:PORT"; fi
    fi
}

split_address() { # HOST | HOST:PORT | [HOST]:PORT
    HOST=$1 PORT=50051
    if [[ $1 =~ ^\[(.*)\](:(.*))?$ ]]; then
        HOST=${BASH_REMATCH[1]} PORT=${BASH_REMATCH[3]:-$PORT}
    elif [[ $1 =~ ^([^:]*):([^:]*)$ ]]; then
        HOST=${BASH_REMATCH[1]} PORT=${BASH_REMATCH[2]}
    fi
}

find_address() { # what the command line says, else the settings
    local listen=$LISTEN
    if [[ -z $listen && -f $ETC/node.yaml ]]; then listen=$(get_key "$ETC/node.yaml" '' listen); fi
    split_address "${listen:-0.0.0.0:50051}"
    case $HOST in
        0.0.0.0) HOST=127.0.0.1 ;;
        ::) HOST=::1 ;;
    esac
}

# ---- the steps ----

check_port_is_free() {
    if [[ $SYSTEMD == running ]] && is_active "$UNIT"; then return; fi
    if port_answers "$HOST" "$PORT"; then
        fail "port $PORT is taken by another program" \
            "Find it with: ss -ltnp sport = :$PORT. End it, or give another port with --listen."
    fi
}

write_settings() {
    local keys=()
    # A token lets a node in, as with a master that has no settings; the file tells how to be stricter.
    if [[ ! -f $ETC/node.yaml ]]; then keys+=('' discovery any); fi
    if [[ -n $CLUSTER ]]; then keys+=(cluster name "$CLUSTER"); fi
    if [[ -n $LISTEN ]]; then keys+=('' listen "\"$LISTEN\""); fi
    ensure_settings "$ETC/node.yaml" "$BUNDLE/templates/node.yaml" 644 "${keys[@]}"
}

# For the nodes: this very bundle, packed.
keep_bundle() {
    local name=piccolo-$VERSION-linux-$ARCH packed
    if [[ -f $OPT/bundles/$name.tar.gz ]] && is_this_bundle "$OPT/bundles/$name.tar.gz" "$name"; then
        unchanged "/opt/piccolo/bundles/$name.tar.gz"
        return
    fi
    packed=$BUNDLE_FILE
    if [[ -z $packed ]] && is_this_bundle "$HERE/../$name.tar.gz" "$name"; then
        packed=$HERE/../$name.tar.gz
    fi
    change "/opt/piccolo/bundles/$name.tar.gz" place_bundle "$packed" "$name"
}

is_this_bundle() { # FILE NAME
    [[ -f $1 ]] && tar -xzOf "$1" "$2/SHA256SUMS" 2>/dev/null | cmp -s - "$BUNDLE/SHA256SUMS"
}

place_bundle() { # FILE|'' NAME
    local packed=$1
    if [[ -z $packed ]]; then
        packed=$SCRATCH/packed
        tar -czf "$packed" --owner=0 --group=0 --transform "s|^\.|$2|" -C "$BUNDLE" .
    fi
    replace_file "$packed" "$OPT/bundles/$2.tar.gz" 644
}

wait_until_it_listens() {
    local second
    if [[ $SYSTEMD != running ]] || $DRY_RUN; then return; fi
    for ((second = 0; second < LISTEN_PATIENCE; second++)); do
        if port_answers "$HOST" "$PORT"; then
            say reached "the master listens on port $PORT"
            return
        fi
        sleep 1
    done
    show_journal "$UNIT"
    fail "the master does not listen on $HOST port $PORT after $LISTEN_PATIENCE s"
}

install_master() {
    local first=true
    if [[ -e $ETC/node.yaml ]]; then first=false; fi
    find_processor
    find_systemd
    only_one_installer
    open_bundle node_ready_check.sh "systemd/$UNIT" templates/node.yaml
    find_address
    check_port_is_free

    remember_services "$UNIT" "$AGENT_UNIT"
    ensure_podman
    ensure_directories 755 "$OPT/versions" "$OPT/bundles" "$ETC" "$LOG" "$DATA" "$RUN" "$BIN" \
        "$SYSTEM_UNITS"
    check_machine master "$HOST" "$PORT"
    ensure_program
    write_settings
    keep_bundle
    ensure_ports_open "$PORT/tcp" "$PORT/udp" "$INSTALL_PORT/tcp"
    ensure_unit "$UNIT" "$BUNDLE/systemd/$UNIT"
    ensure_started "$UNIT"
    ensure_same_program "$AGENT_UNIT"
    wait_until_it_listens
    commit
    forget_old_versions
    tell_next_steps "$first"
    summary "master, piccolo $VERSION"
}

tell_next_steps() { # FIRST-TIME
    if $DRY_RUN; then return; fi
    cat <<END

Program    /opt/piccolo/current (version $VERSION${OLD:+; the one before, $OLD, is kept})
Settings   /etc/piccolo/node.yaml; after a change: systemctl reload piccolo-master
State      /var/lib/piccolo/master; its pki/ is the cluster: back it up
END
    if [[ $SYSTEMD != running ]]; then
        echo "Next       start it: /opt/piccolo/current/piccolo master --config /etc/piccolo/node.yaml"
        return
    fi
    echo 'Next       piccolo get nodes (as root, on this machine)'
    # A token is a secret: for the eyes of a person, not for a log.
    if $1 && [[ -t 1 ]]; then
        echo 'To make another machine a node, run there, as root:'
        "$OPT/current/piccolo" token create --install </dev/null |
            sed 's/^/    /' || warn 'no token could be made: piccolo token create --install'
    else
        echo '           piccolo token create --install: the command that makes a machine a node'
    fi
}

uninstall_master() {
    find_systemd
    only_one_installer
    find_address
    if $PURGE; then
        confirm "Remove the cluster: its authority, its state, its settings?"
    fi
    remove_unit "$UNIT"
    ensure_ports_closed "$PORT/tcp" "$PORT/udp" "$INSTALL_PORT/tcp"
    ensure_absent "$OPT/bundles"
    if is_installed "$AGENT_UNIT"; then
        say note 'the agent on this machine keeps the program and its files'
    else
        remove_program
    fi
    if $PURGE; then
        ensure_absent "$ETC"/node.yaml{,.bak} "$DATA/master"
        if ! is_installed "$AGENT_UNIT"; then ensure_absent "$LOG"; fi
        remove_if_empty "$DATA" "$ETC"
    else
        say note "kept: $(kept "$ETC" "$DATA" "$LOG"); --uninstall --purge removes what is the master's"
    fi
    say note 'the nodes go on running their workloads, and look for the master'
    summary 'uninstalled the master'
}

lay_out "${PICCOLO_ROOT:-}"
read_command_line "$@"
require_root
begin
if $UNINSTALL; then uninstall_master; else install_master; fi
