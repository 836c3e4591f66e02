#!/usr/bin/env bash
# The command line: what both installers take, and what a host, a port and a yes look like.
# shellcheck disable=SC2034 # some variables are for the other files

UNINSTALL=false
PURGE=false
YES=false
TAKEN=0   # how many words the option was that was taken last; 0: it is none of these

COMMON_USAGE='  --bundle FILE    the packed bundle; without, the unpacked one that this script lies in
  --sha256 HEX     checksum of that FILE; without, FILE.sha256 or SHA256SUMS beside it counts
  --force          go on where the check says that this machine is not ready
  --uninstall      remove the service and the program; settings and data stay
  --purge          with --uninstall: remove settings, data and containers, too
  --yes            with --purge: do not ask
  --dry-run        say what would be done, and change nothing
  --root DIR       install below DIR instead of / (for tests and images)
  --help           this text'

wrong_usage() { # MESSAGE
    printf 'error: %s\nTry: %s --help\n' "$1" "${0##*/}" >&2
    exit 2
}

take_value() { # OPTION [VALUE]: for options that have one
    (($# > 1)) || wrong_usage "$1 needs a value"
    TAKEN=2
}

take_common() { # WORD…: the rest of the command line
    TAKEN=1
    case $1 in
        --bundle) take_value "$@" && BUNDLE_FILE=$2 ;;
        --sha256)
            take_value "$@"
            [[ $2 =~ ^[0-9A-Fa-f]{64}$ ]] || wrong_usage "--sha256 takes 64 hexadecimal digits, not $2"
            SHA256=$2
            ;;
        --root) take_value "$@" && lay_out "$2" ;;
        --force) FORCE=true ;;
        --uninstall) UNINSTALL=true ;;
        --purge) PURGE=true ;;
        --yes | -y) YES=true ;;
        --dry-run) DRY_RUN=true ;;
        --help | -h) usage && exit 0 ;;
        *) TAKEN=0 ;;
    esac
}

check_common() {
    if $PURGE && ! $UNINSTALL; then wrong_usage '--purge goes with --uninstall'; fi
}

is_port() { [[ $1 =~ ^[1-9][0-9]{0,4}$ ]] && (($1 <= 65535)); }

is_host() { # a name, an IPv4 or an IPv6 address
    local octet='(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])' label='[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?'
    if [[ $1 =~ ^[0-9.]+$ ]]; then
        [[ $1 =~ ^($octet\.){3}$octet$ ]]
    elif [[ $1 == *:* ]]; then
        # Whether it is one to the last group, the program's own check of its settings tells.
        [[ $1 =~ ^[0-9A-Fa-f:]+(\.[0-9.]+)?(%[A-Za-z0-9._-]+)?$ && $1 == *:*:* ]]
    else
        [[ $1 =~ ^$label(\.$label)*$ ]]
    fi
}

confirm() { # QUESTION
    local answer=''
    if $YES || $DRY_RUN; then return; fi
    [[ -t 0 ]] || fail "$1" 'Nobody can be asked here: say --yes as well.'
    read -r -p "$1 [y/N] " answer
    [[ $answer == [yY]* ]] || fail 'not confirmed'
}
