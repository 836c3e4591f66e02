#!/usr/bin/env bash
# Makes this machine a node of a PICCOLO cluster, upgrades it, or takes that back.
#
# Everything comes from one bundle; no network is needed but the way to the master. A second run
# changes nothing. What fails is taken back: see lib/journal.sh.
set -euo pipefail
umask 022

HERE=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")
# shellcheck source=packaging/lib/all.sh
. "$HERE/lib/all.sh"

UNIT=nodeagent.service
MASTER_UNIT=piccolo-master.service
JOIN_PATIENCE=60   # s
LOOK_EVERY=4       # s, less than the unit rests between two starts

MASTER=''
ROLE=''      # not given: what the settings say, else sub
PORT=''      # not given: what the settings say, else 50051
TOKEN=''
TOKEN_FILE=''
NAME=''      # not given: what the settings say, else the host name
TYPE=''      # not given: what the settings say, else embedded
JOINED=false

usage() {
    cat <<END
usage: ${0##*/} MASTER [sub|master] [GRPC-PORT] [options]
       ${0##*/} --uninstall [--purge [--yes]]

Makes this machine a node of the cluster of MASTER (an IP address or a host name).

  --token TOKEN    to join with, the first time: \`piccolo token create\` on the master makes one
  --token-file F   the same, in a file: other users can see a command line while it runs
  --name NAME      of the node, where it is not to be the host name
  --type TYPE      embedded or cloud
$COMMON_USAGE
END
}

read_command_line() {
    local words=()
    while (($#)); do
        if [[ $1 == --*=* ]]; then set -- "${1%%=*}" "${1#*=}" "${@:2}"; fi
        take_common "$@"
        if ! ((TAKEN)); then
            TAKEN=1
            case $1 in
                --token) take_value "$@" && TOKEN=$2 ;;
                --token-file) take_value "$@" && TOKEN_FILE=$2 ;;
                --name) take_value "$@" && NAME=$2 ;;
                --type) take_value "$@" && TYPE=$2 ;;
                -*) wrong_usage "unknown option $1" ;;
                *) words+=("$1") ;;
            esac
        fi
        shift "$TAKEN"
    done
    check_common
    if $UNINSTALL; then return; fi
    ((${#words[@]} >= 1)) || wrong_usage "the master's address is missing"
    ((${#words[@]} <= 3)) || wrong_usage "too much: ${words[*]:3}"
    MASTER=${words[0]} ROLE=${words[1]:-} PORT=${words[2]:-}
    is_host "$MASTER" || wrong_usage "$MASTER is neither an IP address nor a host name"
    [[ -z $ROLE || $ROLE == sub || $ROLE == master ]] || wrong_usage "a node is sub or master, not $ROLE"
    [[ -z $PORT ]] || is_port "$PORT" || wrong_usage "$PORT is not a port (1 to 65535)"
    [[ -z $NAME || $NAME =~ ^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
        wrong_usage "$NAME is no name of a node: lower-case letters, digits and \"-\", at most 63"
    [[ -z $TYPE || $TYPE == embedded || $TYPE == cloud ]] ||
        wrong_usage "a node is embedded or cloud, not $TYPE"
    read_token
}

read_token() {
    if [[ -n $TOKEN && -n $TOKEN_FILE ]]; then wrong_usage 'give --token or --token-file, not both'; fi
    if [[ -n $TOKEN_FILE ]]; then
        [[ -r $TOKEN_FILE ]] || fail "the token file $TOKEN_FILE cannot be read"
        TOKEN=$(<"$TOKEN_FILE")
    fi
    [[ -z $TOKEN || $TOKEN =~ ^piccolo1(\.[A-Za-z0-9_-]+){3}$ ]] ||
        wrong_usage 'that is no join token: it looks like piccolo1.ID.SECRET.PIN'
}

setting() { # KEY DEFAULT: of the settings there are
    local value=''
    if [[ -f $ETC/nodeagent.yaml ]]; then value=$(get_key "$ETC/nodeagent.yaml" nodeagent "$1"); fi
    printf '%s' "${value:-$2}"
}

is_online() { "$OPT/current/piccolo" is-online "$@" </dev/null; }

# ---- the steps ----

write_settings() {
    local file=$ETC/nodeagent.yaml keys=()
    if [[ ! -f $file ]]; then ROLE=${ROLE:-sub} PORT=${PORT:-50051}; fi
    if [[ -n $(setting masters '') ]]; then
        warn "$file names several masters: it is left as it is, $MASTER is not put in"
    else
        keys+=(nodeagent master_ip "\"$MASTER\"")
    fi
    if [[ -n $PORT ]]; then keys+=(nodeagent grpc_port "$PORT"); fi
    if [[ -n $ROLE ]]; then keys+=(nodeagent node_type "\"$ROLE\""); fi
    if [[ -n $NAME ]]; then keys+=(nodeagent name "\"$NAME\""); fi
    if [[ -n $TYPE ]]; then keys+=(nodeagent type "\"$TYPE\""); fi
    if [[ -n $TOKEN || ! -f $file ]]; then
        keys+=(nodeagent token_file /etc/piccolo/join.token)
    fi
    ensure_settings "$file" "$BUNDLE/templates/nodeagent.yaml" 644 "${keys[@]}"
}

# Needed once. Who is in the cluster already needs none: then it is not even written.
write_token() {
    local data identity
    data=$ROOT$(setting data_dir /var/lib/piccolo)
    identity=$data/pki/node.crt
    if [[ -z $TOKEN ]]; then
        if [[ -f $identity ]]; then
            unchanged 'this node has its identity'
        elif [[ ! -f $ETC/join.token && -z $(setting ca_pin '') ]] && ! $FORCE; then
            fail 'this node does not belong to the cluster yet, and no token was given' \
                'On the master, make one: piccolo token create. Give it with --token.'
        fi
    elif [[ -f $identity ]] && is_online >/dev/null 2>&1; then
        unchanged 'this node is in its cluster; the token is not needed'
    else
        (umask 077 && printf '%s\n' "$TOKEN" >"$SCRATCH/token")
        ensure_file "$SCRATCH/token" "$ETC/join.token" 600
    fi
}

install_service() { # ROLE
    # The check in the unit is that of the node's role.
    sed "s|node_ready_check.sh sub\$|node_ready_check.sh $1|" \
        "$BUNDLE/systemd/$UNIT" >"$SCRATCH/$UNIT"
    ensure_unit "$UNIT" "$SCRATCH/$UNIT"
}

try_master() { # PORT
    if $DRY_RUN; then return; fi
    if ! command -v ping >/dev/null; then
        :
    elif ping -c 1 -W 2 "$MASTER" >/dev/null 2>&1; then
        say reached "$MASTER answers to ping"
    else
        warn "$MASTER does not answer to ping; that may be a firewall's will"
    fi
    if port_answers "$MASTER" "$1"; then
        say reached "$MASTER answers on port $1"
    else
        warn "$MASTER does not answer on port $1: the agent goes on trying"
    fi
}

wait_until_joined() {
    local code=7 left why
    if [[ $SYSTEMD != running ]] || $DRY_RUN; then return 0; fi
    why="this node was not online after $JOIN_PATIENCE s"
    for ((left = JOIN_PATIENCE; code == 7 && left > 0; left -= LOOK_EVERY)); do
        code=0
        is_online --wait --timeout "${LOOK_EVERY}s" >"$SCRATCH/output" 2>&1 || code=$?
        if ((code)) && has_given_up "$UNIT"; then
            why='the agent was not let in, or cannot run here'
            break
        fi
    done
    if ((code == 0)); then
        say joined "this node is online"
        JOINED=true
        return
    fi
    sed 's/^/    /' "$SCRATCH/output" >&2
    show_journal "$UNIT"
    if $FORCE; then
        warn "$why; the agent goes on trying (--force)"
    else
        fail "$why" \
            'Is the token good for this node, and not used up? Can the master be reached?' \
            'Does node.yaml let it in, or does it wait on the master for: piccolo approve NODE?' \
            'To leave it installed and trying, run this with --force.'
    fi
}

tidy_up() {
    forget_old_versions
    if $JOINED; then ensure_absent "$ETC/join.token"; fi
}

install_node() {
    local role port
    find_processor
    find_systemd
    only_one_installer
    open_bundle node_ready_check.sh "systemd/$UNIT" templates/nodeagent.yaml
    role=${ROLE:-$(setting node_type sub)}
    port=${PORT:-$(setting grpc_port 50051)}

    remember_services "$UNIT" "$MASTER_UNIT"
    ensure_podman
    ensure_directories 755 "$OPT/versions" "$ETC" "$LOG" "$DATA" "$RUN" "$BIN" "$SYSTEM_UNITS"
    check_machine "$role" "$MASTER" "$port"
    ensure_program
    ensure_link "$OPT/nodeagent" current/piccolo
    write_settings
    write_token
    if [[ $role == master ]]; then ensure_ports_open "$port/tcp" "$port/udp" 50052/tcp; fi
    install_service "$role"
    try_master "$port"
    ensure_started "$UNIT"
    ensure_same_program "$MASTER_UNIT"
    wait_until_joined
    commit
    tidy_up
    tell_next_steps "$role" "$port"
    summary "node of $MASTER, piccolo $VERSION"
}

tell_next_steps() { # ROLE PORT
    if $DRY_RUN; then return; fi
    cat <<END

Program    /opt/piccolo/current (version $VERSION${OLD:+; the one before, $OLD, is kept})
Settings   /etc/piccolo/nodeagent.yaml
Master     $MASTER, port $2; this node is $1
END
    if [[ $SYSTEMD == running ]]; then
        echo "Next       on the master: piccolo get nodes; here: journalctl -u nodeagent -f"
    else
        echo "Next       start it: /opt/piccolo/nodeagent --config /etc/piccolo/nodeagent.yaml"
    fi
}

uninstall_node() {
    local port data
    find_systemd
    only_one_installer
    port=$(setting grpc_port 50051)
    data=$(setting data_dir /var/lib/piccolo)
    if $PURGE; then
        confirm "Remove this node's identity, settings, data and all containers of workloads?"
    fi
    remove_unit "$UNIT"
    ensure_absent "$OPT/nodeagent" "$ETC/join.token"
    if is_installed "$MASTER_UNIT"; then
        say note 'the master on this machine keeps the program and its files'
    else
        if [[ $(setting node_type sub) == master ]]; then
            ensure_ports_closed "$port/tcp" "$port/udp" 50052/tcp
        fi
        remove_program
    fi
    if $PURGE; then
        remove_containers
        purge "$data"
    else
        tell_of_containers
        say note "kept: $(kept "$ETC" "$DATA" "$LOG"); --uninstall --purge removes that as well"
    fi
    summary 'uninstalled the node'
}

# The master's data may lie within ours, and its settings beside ours.
purge() { # DATA-DIRECTORY
    local path
    if [[ $1 != /var/lib/piccolo ]]; then say note "kept: $1, which is not a directory of ours"; fi
    for path in "$DATA"/* "$DATA"/.[!.]*; do
        if [[ $path != "$DATA/master" ]]; then ensure_absent "$path"; fi
    done
    ensure_absent "$ETC"/nodeagent.yaml{,.bak}
    if ! is_installed "$MASTER_UNIT"; then ensure_absent "$LOG"; fi
    remove_if_empty "$DATA" "$ETC"
}

lay_out "${PICCOLO_ROOT:-}"
read_command_line "$@"
require_root
begin
if $UNINSTALL; then uninstall_node; else install_node; fi
