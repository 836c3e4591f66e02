#!/bin/sh
# node_ready_check.sh: is this machine ready to join a PICCOLO cluster, or to be its master?
#
# The same checks, levels and verdict as `piccolo check`, for machines without Python. It needs a
# POSIX shell and awk (busybox has both); what a check needs beyond that and does not find is "not
# checked". docs/check.md tells what each check means.
#
# Exit code: 0 ready or warning, 1 failed, 2 wrong usage.
set -u
export LC_ALL=C

usage() {
    cat <<'EOF'
Usage: node_ready_check.sh [sub|master] [option …]

  --config FILE        default: /etc/piccolo/nodeagent.yaml, for a master /etc/piccolo/node.yaml
  --master HOST[:PORT] of a sub node; else $MASTER_NODE_IP and $GRPC_PORT, else the configuration
  --no-write           do not keep the result
  --result-file FILE   default: /var/run/piccolo/node_status
  --log-file FILE      default: /var/log/piccolo/system_check.log
  --root DIR           look at /proc, /sys, /etc and /var of a system that lies here; or $PICCOLO_ROOT
EOF
}

wrong_usage() {
    printf 'node_ready_check.sh: %s\n' "$1" >&2
    usage >&2
    exit 2
}

role=sub config='' flag='' write=yes result_file='' log_file='' root=${PICCOLO_ROOT:-}
while [ $# -gt 0 ]; do
    case $1 in
        sub | master) role=$1 ;;
        --no-write) write=no ;;
        -h | --help) usage && exit 0 ;;
        --config | --master | --result-file | --log-file | --root)
            [ $# -gt 1 ] || wrong_usage "$1 needs a value"
            case $1 in
                --config) config=$2 ;;
                --master) flag=$2 ;;
                --result-file) result_file=$2 ;;
                --log-file) log_file=$2 ;;
                --root) root=$2 ;;
            esac
            shift
            ;;
        *) wrong_usage "what is $1?" ;;
    esac
    shift
done
[ "$role" = sub ] || [ -z "$flag" ] || wrong_usage "--master is for a sub node"
root=${root%/}
: "${result_file:=$root/var/run/piccolo/node_status}"
: "${log_file:=$root/var/log/piccolo/system_check.log}"

# ---- findings ----

findings=''
errors=0 warnings=0

found() { # LEVEL ID SEEN [FIX]
    findings="$findings$1 $2: $3${4:+ -> $4}
"
}
ok() { found ok "$@"; }
unknown() { found ok "$1" "not checked: $2"; }
warning() { warnings=$((warnings + 1)) && found warning "$@"; }
error() { errors=$((errors + 1)) && found error "$@"; }

# ---- tools ----

have() { command -v "$1" >/dev/null 2>&1; }

# Runs a command and ends it after so many seconds: name servers and network disks may hang.
bounded() { # SECONDS COMMAND…
    if timeout 1 true 2>/dev/null; then # not that of an old busybox, which wants -t
        timeout "$@"
        return
    fi
    bound=$1
    shift
    "$@" &
    bounded_pid=$!
    (sleep "$bound" && kill "$bounded_pid") >/dev/null 2>&1 &
    killer=$!
    wait "$bounded_pid" 2>/dev/null
    bounded_code=$?
    kill "$killer" 2>/dev/null # its sleep ends by itself
    return "$bounded_code"
}

# The value that awk prints for an expression; numbers come in as a, b and c.
calculate() { # EXPRESSION A [B [C]]
    awk -v a="${2:-0}" -v b="${3:-0}" -v c="${4:-0}" "BEGIN { print ($1) }"
}

# Seconds since 1970 of "YEAR MONTH DAY HOUR MINUTE SECOND" on standard input (UTC).
epoch() {
    awk '{
        year = $2 > 2 ? $1 : $1 - 1
        days = int(365.25 * year) - int(year / 100) + int(year / 400)
        days += int(30.6 * (($2 + 9) % 12) + 0.5) + $3 - 719469
        printf "%.0f\n", days * 86400 + $4 * 3600 + $5 * 60 + $6
    }'
}

# "Nov 21 21:41:58 2026" (or with day before month) to what epoch takes.
dated() {
    awk '{
        day = $1 + 0 ? $1 : $2
        month = $1 + 0 ? $2 : $1
        clock = $1 + 0 ? $4 : $3
        year = $1 + 0 ? $3 : $4
        split(clock, t, ":")
        print year, (index("JanFebMarAprMayJunJulAugSepOctNovDec", month) + 2) / 3, day, t[1], t[2], t[3]
    }' | epoch
}

# ---- the configuration ----

# Prints "a.b=value" for each value of a plain YAML file, one line per item of a list.
flat_yaml() {
    awk '
        function plain(text) {
            sub(/^[ \t]+/, "", text)
            if (text ~ /^"/) { sub(/^"/, "", text); sub(/".*$/, "", text); return text }
            if (text ~ /^\047/) { sub(/^\047/, "", text); sub(/\047.*$/, "", text); return text }
            sub(/(^|[ \t]+)#.*$/, "", text); sub(/[ \t\r]+$/, "", text)
            return text
        }
        /^[ \t]*(#|\r?$)/ || /^---/ { next }
        {
            match($0, /^ */); indent = RLENGTH; line = substr($0, indent + 1)
            if (line ~ /^- /) { print path "=" plain(substr(line, 3)); next }
            colon = index(line, ":"); value = plain(substr(line, colon + 1))
            while (depth > 0 && indents[depth] >= indent) depth--
            indents[++depth] = indent; keys[depth] = substr(line, 1, colon - 1)
            path = keys[1]
            for (i = 2; i <= depth; i++) path = path "." keys[i]
            if (value ~ /^\[.*\]$/) {
                count = split(substr(value, 2, length(value) - 2), items, ",")
                for (i = 1; i <= count; i++) print path "=" plain(items[i])
            } else if (value != "") print path "=" value
        }' "$1"
}

setting() { printf '%s\n' "$settings" | sed -n "s/^$1=//p"; } # KEY

# "HOST[:PORT]" into $host and $port; false for what is none.
split_address() { # ADDRESS DEFAULT-PORT
    host=$1 port=$2
    case $1 in
        \[*\]:*) host=${1%\]:*} port=${1##*\]:} ;;
        \[*\]) host=${1%\]} ;;
        *:*:*) ;;
        *:*) host=${1%:*} port=${1##*:} ;;
    esac
    host=${host#\[}
    case $host in '' | -* | *[!A-Za-z0-9.:-]*) return 1 ;; esac
    case ${host##*.} in
        *[!0-9]*) ;;
        *) is_ipv4 "$host" || return 1 ;;
    esac
    is_port "$port"
}
joined() { # HOST PORT
    case $1 in *:*) printf '[%s]:%s' "$1" "$2" ;; *) printf '%s:%s' "$1" "$2" ;; esac
}
is_port() {
    case $1 in '' | *[!0-9]* | ??????*) return 1 ;; esac
    [ "$1" -ge 1 ] && [ "$1" -le 65535 ]
}
is_ipv4() {
    printf '%s\n' "$1" | awk -F. '
        { good = NF == 4; for (i = 1; i <= NF; i++) if ($i !~ /^[0-9]+$/ || $i > 255) good = 0 }
        END { exit !good }'
}

read_config() {
    if [ -z "$config" ]; then
        config=$root/etc/piccolo/nodeagent.yaml
        [ "$role" = sub ] || config=$root/etc/piccolo/node.yaml
        [ -e "$config" ] || config=''
    fi
    settings='' source='defaults and the environment' problem='' masters='' shown='' listen_port='' etcd=''
    if [ -n "$config" ]; then
        source=$config
        if [ -f "$config" ] && [ -r "$config" ]; then
            settings=$(flat_yaml "$config")
        else
            problem="$config cannot be read"
        fi
    fi
    data_dir=/var/lib/piccolo
    [ "$uid" = 0 ] || data_dir=${XDG_DATA_HOME:-${HOME:-/nonexistent}/.local/share}/piccolo
    if [ "$role" = sub ]; then
        config_of_agent
    else
        data_dir=$data_dir/master
        config_of_master
    fi
}

config_of_agent() {
    default_port=${GRPC_PORT:-$(setting nodeagent.grpc_port)}
    : "${default_port:=50051}"
    is_port "$default_port" || problem="$default_port is no port"
    named=$(setting nodeagent.masters)
    : "${named:=$(setting nodeagent.master_ip)}"
    [ -z "${MASTER_NODE_IP:-}" ] || { named=$MASTER_NODE_IP && source='the environment'; }
    [ -z "$flag" ] || { named=$flag && source=--master; }
    for address in $named; do
        if split_address "$address" "$default_port"; then
            masters="$masters $host,$port" shown="$shown $(joined "$host" "$port")"
        else
            problem="$address is no address of a master"
        fi
    done
    [ -n "$named" ] || : "${problem:=no master is named}"
    own_socket=$(setting nodeagent.podman_socket)
    set_data_dir "$(setting nodeagent.data_dir)"
}

config_of_master() {
    listen=$(setting listen)
    : "${listen:=0.0.0.0:50051}"
    listen_port=50051
    case $listen in
        *:0) listen_port='' ;; # any free one
        *) if split_address "$listen" 50051; then listen_port=$port; else problem="listen: $listen is no address"; fi ;;
    esac
    store=$(setting store)
    case $store in
        etcd://* | etcds://*)
            store=${store#*://} store=${store%%/*} store=${store%%\?*} store=${store##*@}
            for address in $(printf '%s' "$store" | tr , ' '); do
                split_address "$address" 2379 && etcd="$etcd $host,$port" &&
                    shown="$shown $(joined "$host" "$port")"
            done
            ;;
    esac
    own_socket=''
    set_data_dir "$(setting data_dir)"
}

set_data_dir() { [ -z "$1" ] || data_dir=${1%/}; }

check_config() {
    if [ -n "$problem" ]; then
        error config "$source: $problem" "correct it; docs/configuration.md has all keys"
        masters='' listen_port='' etcd=''
    elif [ "$role" = sub ]; then
        ok config "master$shown, from $source"
    else
        ok config "listens at $listen, from $source"
    fi
}

# ---- the machine ----

check_cpu() {
    load='' cores=$(grep -c '^cpu[0-9]' "$root/proc/stat" 2>/dev/null)
    [ ! -r "$root/proc/loadavg" ] || read -r load _ <"$root/proc/loadavg"
    if [ -z "$load" ] || [ "${cores:-0}" = 0 ]; then
        unknown cpu "the load cannot be read"
        return
    fi
    seen="load $load on $cores cores, $(calculate 'sprintf("%.2f", a / b)' "$load" "$cores") each"
    if [ "$(calculate 'int(a * 100 + 0.5) > 80 * b' "$load" "$cores")" = 1 ]; then
        warning cpu "$seen: more than 0.8" "see with top what is busy, and stop or move it"
    else
        ok cpu "$seen"
    fi
}

check_memory() {
    percent=$(awk '$1 == "MemTotal:" { total = $2 } $1 == "MemAvailable:" { left = $2; seen = 1 }
        END { if (total > 0 && seen) print left / total * 100 }' "$root/proc/meminfo" 2>/dev/null)
    if [ -z "$percent" ]; then
        unknown memory "/proc/meminfo does not tell"
        return
    fi
    seen="$(calculate 'sprintf("%.0f", a)' "$percent") % available"
    if [ "$(calculate 'a < 20' "$percent")" = 1 ]; then
        warning memory "$seen: less than 20 %" \
            "see with top what uses it, and stop or move it; or give the machine more"
    else
        ok memory "$seen"
    fi
}

# Prints "used% inodes%" of the file system that holds a path or will hold it; "-": none to count.
filled() { # PATH
    there=$root$1
    while [ ! -e "$there" ] && [ "$there" != "$root" ]; do there=${there%/*}; done
    bounded 1 stat -f -c '%b %f %a %c %d' "${there:-/}" 2>/dev/null | awk 'NF == 5 {
        usable = $1 - $2 + $3
        print (usable > 0 ? ($1 - $2) / usable * 100 : 0), ($4 > 0 ? ($4 - $5) / $4 * 100 : "-")
    }'
}

read_only() { # PATH
    awk -v path="$1" '
        BEGIN { longest = -1; ro = 0 }
        NF >= 4 {
            point = $2; sub(/\/$/, "", point)
            if ((path == point || index(path, point "/") == 1) && length(point) >= longest) {
                longest = length(point); ro = ("," $4 ",") ~ /,ro,/
            }
        }
        END { exit !ro }' "$root/proc/mounts" 2>/dev/null
}

check_storage() {
    worst='' worst_inodes='' locked=''
    for path in "$data_dir" /var/lib/containers; do
        # shellcheck disable=SC2046 # two words are wanted
        set -- $(filled "$path")
        [ $# = 2 ] || continue
        [ -n "$worst" ] && [ "$(calculate 'a <= b' "$1" "$worst")" = 1 ] || worst=$1 worst_at=$path
        [ "$2" = - ] || { [ -n "$worst_inodes" ] &&
            [ "$(calculate 'a <= b' "$2" "$worst_inodes")" = 1 ]; } ||
            worst_inodes=$2 inodes_at=$path
        [ -n "$locked" ] || ! read_only "$path" || locked=$path
    done
    if [ -z "$worst" ]; then
        unknown disk "the file systems do not answer"
        unknown inodes "the file systems do not answer"
        return
    fi
    if [ -n "$locked" ]; then
        error disk "$locked is mounted read-only" \
            "mount it writable, and see dmesg: a kernel does that to a damaged disk"
    else
        check_filled disk "$worst" "$worst_at" \
            "remove what is not needed, e.g. with podman image prune; or use a larger disk"
    fi
    if [ -z "$worst_inodes" ]; then
        ok inodes "these file systems have no fixed number of them"
    else
        check_filled inodes "$worst_inodes" "$inodes_at" \
            "find and remove directories of many small files"
    fi
}

check_filled() { # ID PERCENT PATH FIX
    seen="$(calculate 'sprintf("%.0f", a)' "$2") % used at $3"
    case $(calculate '(a > 80) + (a > 90)' "$2") in
        2) error "$1" "$seen: more than 90 %" "$4" ;;
        1) warning "$1" "$seen: more than 80 %" "$4" ;;
        *) ok "$1" "$seen" ;;
    esac
}

lacking() { # WORDS THOSE-THAT-ARE-THERE
    for word in $1; do
        case " $2 " in *" $word "*) ;; *) printf ' %s' "$word" ;; esac
    done
}

words_of() { [ ! -r "$1" ] || tr '\n\t' '  ' <"$1"; } # FILE

check_cgroup() {
    version=1
    if [ -e "$root/sys/fs/cgroup/cgroup.controllers" ]; then
        version=2
        controllers=$(words_of "$root/sys/fs/cgroup/cgroup.controllers")
    else
        controllers=$(awk 'NF == 4 && $1 !~ /^#/ && $4 == 1 { printf "%s ", $1 }' \
            "$root/proc/cgroups" 2>/dev/null)
        [ -n "$controllers" ] || version=0
    fi
    missing=$(lacking 'cpu memory pids' "$controllers")
    if [ "$version" = 0 ]; then
        error cgroup "there are no control groups" \
            "use a kernel with CONFIG_CGROUPS, and mount them at /sys/fs/cgroup"
    elif [ -n "$missing" ]; then
        warning cgroup "version $version, without$missing: no limits there" \
            "switch them on at the kernel's command line: cgroup_enable=memory cgroup_memory=1"
    elif [ "$version" = 1 ]; then
        warning cgroup "version 1, which newer versions of Podman no longer take" \
            "boot with systemd.unified_cgroup_hierarchy=1; version 1 works as long as Podman does"
    else
        ok cgroup "version 2"
    fi
}

check_namespaces() {
    there=' '
    for file in "$root"/proc/self/ns/*; do there="$there${file##*/} "; done
    missing=$(lacking 'ipc mnt net pid uts' "$there")
    allowed=yes
    for switch in user/max_user_namespaces kernel/unprivileged_userns_clone; do
        value=$(words_of "$root/proc/sys/$switch")
        [ "${value%% *}" != 0 ] || allowed=no
    done
    if [ -n "$missing" ]; then
        error namespaces "the kernel has none for$missing" \
            "use a kernel with CONFIG_NAMESPACES and all under it"
    elif [ "$uid" != 0 ] && { [ "$allowed" = no ] || [ -n "$(lacking user "$there")" ]; }; then
        error namespaces "other users than root may not make any" \
            "as root: sysctl -w user.max_user_namespaces=15000 kernel.unprivileged_userns_clone=1"
    else
        ok namespaces "the kernel has all that containers need"
    fi
}

check_kernel() {
    if grep -q '^Seccomp:' "$root/proc/self/status" 2>/dev/null; then
        ok seccomp "containers run behind a filter of system calls"
    else
        warning seccomp "the kernel has none: containers may use all system calls" \
            "use a kernel with CONFIG_SECCOMP_FILTER"
    fi
    release=$(words_of "$root/proc/sys/kernel/osrelease")
    modules=$root/lib/modules/${release%% *}
    if [ -z "$(lacking overlay "$(words_of "$root/proc/filesystems")")" ] ||
        grep -q '/overlay\.ko' "$modules/modules.dep" "$modules/modules.builtin" 2>/dev/null; then
        ok overlay "the kernel has it"
    else
        warning overlay "the kernel has none: every container is a whole copy" \
            "use a kernel with CONFIG_OVERLAY_FS, or install fuse-overlayfs"
    fi
}

set_aside() { # FILE
    awk -F: -v name="$user" -v uid="$uid" '
        NF == 3 && ($1 == name || $1 == uid) && $3 ~ /^[0-9]+$/ { sum += $3 }
        END { print sum + 0 }' "$1" 2>/dev/null || echo 0
}

check_subid() {
    if [ "$uid" = 0 ]; then
        ok subid "not needed: containers run as root's"
        return
    fi
    uids=$(set_aside "$root/etc/subuid") gids=$(set_aside "$root/etc/subgid")
    if [ "$uids" -lt 65536 ] || [ "$gids" -lt 65536 ]; then
        warning subid "$user has $uids in /etc/subuid, $gids in /etc/subgid: rootless containers need 65536" \
            "as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $user"
    else
        ok subid "$user has $uids user and $gids group ids"
    fi
}

check_podman() {
    if ! have podman; then
        error podman "not installed" "install the package podman"
        unknown podman-socket "Podman is not installed"
        return
    fi
    version=$(bounded 1 podman --version 2>/dev/null | awk 'NR == 1 { print $3 }')
    major=${version%%.*}
    case $major in
        [0-3]) error podman "version $version is too old" "install Podman 4 or newer" ;;
        *) ok podman "${version:+version }${version:-installed}" ;;
    esac
    sockets="/run/podman/podman.sock ${XDG_RUNTIME_DIR:-/run/user/$uid}/podman/podman.sock"
    [ -z "${CONTAINER_HOST:-}" ] || sockets=${CONTAINER_HOST#unix://}
    own_socket=${own_socket#unix://}
    [ -z "$own_socket" ] || sockets=${own_socket#unix:}
    # Those at which somebody listens (__SO_ACCEPTCON). /var/run is /run.
    listening=$(awk 'NF == 8 && substr($4, 4, 1) ~ /[13579bdfBDF]/ { sub(/^\/var\/run\//, "/run/", $8); print $8 }' \
        "$root/proc/net/unix" 2>/dev/null)
    for socket in $sockets; do
        if printf '%s\n' "$listening" | grep -qxF -- "$socket" && { [ "$uid" = 0 ] ||
            { [ -r "$root$socket" ] && [ -w "$root$socket" ]; }; }; then
            ok podman-socket "listening at $socket"
            return
        fi
    done
    own='' && [ "$uid" = 0 ] || own='--user '
    warning podman-socket "nobody listens at $sockets" "systemctl ${own}enable --now podman.socket"
}

# ---- the network ----

# Whether somebody answers; nothing is said to them. 2: there is no program to try it with.
connects() { # HOST PORT
    if have bash; then
        # shellcheck disable=SC2016 # for that shell
        bounded 1 bash -c ': <"/dev/tcp/$0/$1"' "$1" "$2" >/dev/null 2>&1
    elif have nc; then
        bounded 2 nc -w 1 "$1" "$2" </dev/null >/dev/null 2>&1
        case $? in 0 | 143) ;; *) return 1 ;; esac # 143: connected, and ended by us
    elif have curl; then
        taken=$(curl -so /dev/null -m 1 -w '%{time_connect}' "telnet://$(joined "$1" "$2")" \
            </dev/null 2>/dev/null)
        [ "$(calculate 'a > 0' "$taken")" = 1 ]
    else
        return 2
    fi
}

resolves() { # HOST
    if have getent; then
        bounded 1 getent ahosts "$1" >/dev/null 2>&1
    elif have nslookup; then
        bounded 1 nslookup "$1" >/dev/null 2>&1
    else
        return 2
    fi
}

pings() { # HOST
    have ping || return 2
    bounded 2 ping -c 1 -W 1 "$1" >/dev/null 2>&1
}

# Prints "fits", "lost", or how many bytes a packet may have at most; nothing: ping cannot tell.
packets() { # HOST
    have ping || return
    case $1 in *:*) payload=1452 ;; *) payload=1472 ;; esac
    said=$(bounded 2 ping -M "do" -c 1 -W 1 -s "$payload" "$1" 2>&1)
    case $? in
        0) echo fits ;;
        1)
            told=$(printf '%s\n' "$said" | sed -n 's/.*mtu *= *\([0-9][0-9]*\).*/\1/p' | head -n 1)
            case $said in *'100% packet loss'*) : "${told:=lost}" ;; esac
            echo "$told"
            ;;
    esac
}

# Prints the master's time: it stands in every answer of it (RFC 9110, 6.6.1).
master_time() { # HOST PORT
    have curl || return
    printf '\0\0\0\0\0' | curl -sk --http2 -m 1 -o /dev/null -D - --data-binary @- \
        -H 'content-type: application/grpc' -H 'te: trailers' \
        "https://$(joined "$1" "$2")/piccolo.v1.NodeAgentService/GetTrustBundle" 2>/dev/null |
        tr -d '\r' | sed -n 's/^[Dd]ate: [A-Za-z]*, //p' | dated
}

# All at once, one line each: a pipe keeps short lines whole.
ask() { # NUMBER HOST PORT
    (connects "$2" "$3" && echo "connects $1 0" || echo "connects $1 $?") &
    (resolves "$2" && echo "resolves $1 0" || echo "resolves $1 $?") &
    (pings "$2" && echo "pings $1 0" || echo "pings $1 $?") &
    (echo "packets $1 $(packets "$2")") &
    (echo "time $1 $(master_time "$2" "$3")") &
}
answer() { printf '%s\n' "$answers" | sed -n "s/^$1 $2 //p"; } # QUESTION NUMBER

check_network() {
    answers=$(
        number=0
        for address in $masters; do
            number=$((number + 1))
            ask "$number" "${address%,*}" "${address##*,}"
        done
        wait
    )
    # They are addresses of one master: it is enough to get through by one.
    number=0 best=''
    for address in $masters; do
        number=$((number + 1))
        [ -n "$best" ] || [ "$(answer connects "$number")" != 0 ] || best=$number,$address
    done
    address=${masters# }
    : "${best:=1,${address%% *}}"
    number=${best%%,*} host=${best#*,} port=${best##*,}
    host=${host%,*}
    check_clock "$(answer time "$number")"
    [ -n "$masters" ] || return
    connected=$(answer connects "$number") pinged=$(answer pings "$number")
    check_dns
    case $connected in
        0) ok grpc-port "$(joined "$host" "$port") answers" ;;
        2) unknown grpc-port "there is no bash, nc or curl to try it with" ;;
        *) error grpc-port "nobody answers at$shown" \
            "start the master, open the port in its firewall, and see that the address is right" ;;
    esac
    case $pinged in
        0) ok ping "$host answers" ;;
        1) warning ping "$host does not answer" "if the port answers, allow ICMP or leave it; else see that the machine is on, the cable is in, and the route is right: ip route" ;;
        *) unknown ping "there is no ping program that may be used" ;;
    esac
    check_mtu "$(answer packets "$number")"
}

check_clock() { # MASTER'S-TIME
    now=$(date +%s)
    if [ "$now" -lt 1767225600 ]; then # 2026-01-01
        error clock "it was never set" "set it: date -s, or a time server (chrony)"
        return
    elif [ -z "$masters" ]; then
        ok clock "it was set"
        return
    elif [ -z "$1" ]; then
        unknown clock "the master did not tell its time, or there is no curl with HTTP/2"
        return
    fi
    ahead=$((now - $1))
    word='ahead of' && [ "$ahead" -gt 0 ] || word=behind
    seen="${ahead#-} s $word the master's"
    fix="set both by the same time server (chrony, systemd-timesyncd)"
    if [ "$ahead" -lt -600 ]; then
        error clock "$seen: certificates from there are not valid yet here" "$fix"
    elif [ "${ahead#-}" -gt 5 ]; then
        warning clock "$seen" "$fix"
    else
        ok clock "$seen"
    fi
}

check_dns() {
    case $host in *:*) ok dns "not needed: $host is an address" && return ;; esac
    if is_ipv4 "$host"; then
        ok dns "not needed: $host is an address"
    elif [ "$connected" = 0 ]; then
        ok dns "$host is known"
    else
        case $(answer resolves "$number") in
            0) ok dns "$host is known" ;;
            2) unknown dns "there is no getent or nslookup" ;;
            *) error dns "$host is not known" \
                "correct the name, /etc/hosts or /etc/resolv.conf; or name the master by its address" ;;
        esac
    fi
}

check_mtu() { # WHAT-PACKETS-SAID
    case $1 in
        fits) ok mtu "packets of 1500 bytes come through" ;;
        lost)
            if [ "$pinged" = 0 ]; then
                warning mtu "packets of 1500 bytes are lost on the way, without a word" \
                    "lower the MTU of this machine's interface (ip link set DEV mtu 1400), or allow ICMP"
            else
                unknown mtu "there is no answer"
            fi
            ;;
        '') unknown mtu "there is no ping program for it, or no answer" ;;
        *)
            if [ "$1" -lt 1280 ]; then
                warning mtu "packets of up to $1 bytes come through: very few" \
                    "raise the MTU of the network on the way to 1280 at least"
            else
                ok mtu "packets of up to $1 bytes come through"
            fi
            ;;
    esac
}

# ---- the master's own ports ----

# Prints "PROTOCOL INODE" of the sockets that wait at the port.
waiting() { # PORT
    hex=$(printf '%04X' "$1")
    for table in tcp tcp6 udp udp6; do
        state=0A && [ "${table%6}" = tcp ] || state=07
        awk -v port=":$hex$" -v state="$state" -v protocol="${table%6}" '
            $4 == state && $2 ~ port { print protocol, $10 }' "$root/proc/net/$table" 2>/dev/null
    done
}

# Prints the process id of who has a socket; nothing: that cannot be seen.
owner() { # INODE
    # /dev/null makes ls name the directories, were there only one. Links have no newlines here.
    # shellcheck disable=SC2012
    ls -l /dev/null "$root"/proc/[0-9]*/fd 2>/dev/null | awk -v inode="socket:[$1]" '
        /:$/ { directory = $0 }
        $NF == inode { sub(/\/fd:$/, "", directory); sub(/.*\//, "", directory); print directory; exit }'
}

check_listen() {
    ours=no
    # shellcheck disable=SC2046 # words are wanted
    set -- $(waiting "$listen_port")
    while [ $# -gt 1 ]; do
        process=$(owner "$2")
        command=$([ -z "$process" ] || tr '\0' '\n' <"$root/proc/$process/cmdline" 2>/dev/null)
        if printf '%s\n' "$command" | awk '/(^|\/)piccolo$/ { program = 1; next }
            program && $0 == "master" { good = 1 } END { exit !good }'; then
            ours=yes
        else
            taker=$(printf '%s\n' "$command" | head -n 1)
            error listen-port "$listen_port/$1 is taken by ${taker:-another program}" \
                "stop that program, or let the master listen elsewhere: listen in node.yaml"
            return
        fi
        shift 2
    done
    word=free && [ "$ours" = no ] || word='ours already'
    ok listen-port "$listen is $word"
}

check_etcd() {
    answers=$(
        for address in $etcd; do
            (connects "${address%,*}" "${address##*,}" && echo "0 $address" || echo "$? $address") &
        done
        wait
    )
    silent=$(printf '%s\n' "$answers" | sed -n 's/^[13-9][0-9]* //p' | tr ',\n' '  ')
    fix="start etcd, and see that store in node.yaml names it rightly"
    if [ -z "$silent" ]; then
        ok etcd-port "all answer:$shown"
    elif printf '%s\n' "$answers" | grep -q '^0 '; then
        warning etcd-port "no answer from $silent" "$fix"
    else
        error etcd-port "no answer from $silent" "$fix"
    fi
}

# ---- certificates ----

# Prints "MADE NOT-AFTER" of a certificate, in seconds since 1970; nothing: it cannot be read.
times_of() { # FILE
    [ -r "$1" ] || return
    written=$(sed -n '1s/^Made: //p; 2s/^Not After: //p' "$1")
    if [ -n "$written" ]; then # by the agent, above the certificate
        printf '%s\n' "$written" | tr 'T:+-' '    ' | epoch | tr '\n' ' '
    elif have openssl; then
        openssl x509 -noout -startdate -enddate -in "$1" 2>/dev/null | sed 's/^[A-Za-z]*=//' |
            dated | tr '\n' ' '
    fi
}

check_certificate() {
    names=node.crt renew="start the agent and see that it reaches the master: then it renews it by itself"
    if [ "$role" = master ]; then
        names='master.crt ca.crt'
        renew="start the master, which renews it; an authority is replaced by: piccolo ca rotate"
    fi
    first='' first_made='' first_file=''
    if [ -d "$root$data_dir" ] && [ ! -x "$root$data_dir/pki" ] && [ -d "$root$data_dir/pki" ]; then
        unknown certificate "$data_dir/pki cannot be read; try again as root"
        return
    fi
    for name in $names; do
        [ -e "$root$data_dir/pki/$name" ] || continue
        # shellcheck disable=SC2046 # two words are wanted
        set -- $(times_of "$root$data_dir/pki/$name")
        if [ $# != 2 ]; then
            unknown certificate "$data_dir/pki/$name cannot be read; try again as root, with openssl installed"
            return
        fi
        [ -n "$first" ] && [ "$2" -ge "$first" ] ||
            first=$2 first_made=$1 first_file=$data_dir/pki/$name
    done
    if [ -z "$first" ]; then
        ok certificate "none yet: it comes with joining, or the master's first start"
    elif [ "$now" -gt $((first + 30 * 86400)) ] && [ "$role" = sub ]; then
        error certificate "$first_file expired $(((now - first) / 86400)) days ago" \
            "join again with a new token: piccolo token create, on the master"
    elif [ "$now" -gt "$first" ]; then
        warning certificate "$first_file expired $(((now - first) / 86400)) days ago" "$renew"
    elif [ $((5 * (now - first_made))) -gt $((4 * (first - first_made))) ]; then
        warning certificate "$first_file holds for $(((first - now) / 86400)) more days: it should have been renewed" "$renew"
    else
        ok certificate "$first_file holds for $(((first - now) / 86400)) more days"
    fi
}

# ---- the result ----

# Whole at any instant: others read it while we write.
keep_result() { # WORD
    fresh=${result_file%/*}/.node_status.$$
    mkdir -p "${result_file%/*}" && printf 'status=%s\n' "$1" >"$fresh" &&
        mv -f "$fresh" "$result_file" && return
    rm -f "$fresh"
    return 1
}

keep_log() { # LINES
    mkdir -p "${log_file%/*}" || return
    if [ -e "$log_file" ] && [ "$(wc -c <"$log_file")" -ge 131072 ]; then
        mv -f "$log_file" "$log_file.1"
    fi
    stamp=$(date '+%Y-%m-%d %H:%M:%S')
    printf '%s\n' "$1" | sed "s/^/[$stamp] /" >>"$log_file"
}

complain() { printf 'note: %s was not written: no right to, or no room\n' "$1" >&2; } # FILE

uid=$(id -u) user=$(id -un 2>/dev/null || id -u)
if [ "$write" = yes ]; then keep_result checking 2>/dev/null; fi
read_config
check_config
check_cpu
check_memory
check_storage
check_cgroup
check_namespaces
check_kernel
check_subid
check_podman
check_network
[ -z "$listen_port" ] || check_listen
[ -z "$etcd" ] || check_etcd
check_certificate

verdict=ready
[ "$warnings" = 0 ] || verdict=warning
[ "$errors" = 0 ] || verdict=failed
findings=${findings}status=$verdict
printf '%s\n' "$findings"
if [ "$write" = yes ]; then
    keep_result "$verdict" 2>/dev/null || complain "$result_file"
    (keep_log "$findings") 2>/dev/null || complain "$log_file"
fi
[ "$verdict" != failed ]
