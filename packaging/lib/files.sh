#!/usr/bin/env bash
# Files, links and directories as they should be. Each replacement is one rename, so that whoever
# looks sees the old or the new; each can be undone.
# shellcheck disable=SC2034 # some variables are for the other files

lay_out() { # ROOT: put before every path of the machine; for tests and for images
    ROOT=${1%/}
    OPT=$ROOT/opt/piccolo
    ETC=$ROOT/etc/piccolo
    DATA=$ROOT/var/lib/piccolo
    LOG=$ROOT/var/log/piccolo
    RUN=$ROOT/var/run/piccolo
    BIN=$ROOT/usr/local/bin
    CHECK=$BIN/node_ready_check.sh
    SYSTEM_UNITS=$ROOT/etc/systemd/system
}

shown() { printf '%s' "${1#"$ROOT"}"; }

# What stands at PATH comes back when the run fails.
remember() { # PATH
    local path=$1 copy="$SCRATCH/undo.${#UNDO[@]}"
    if [[ -L $path ]]; then
        on_undo ln -sfn "$(readlink "$path")" "$path"
    elif [[ -e $path ]]; then
        cp -p "$path" "$copy"
        on_undo mv -fT "$copy" "$path"
    else
        on_undo rm -f "$path"
    fi
    on_undo rm -f "$path.new"
}

ensure_directories() { # MODE PATH…
    local mode=$1 path missing=()
    shift
    for path in "$@"; do
        if [[ ! -d $path ]]; then missing+=("$path"); fi
    done
    if ((${#missing[@]})); then
        change "directories ${missing[*]/#"$ROOT"/}" make_directories "$mode" "${missing[@]}"
    else
        unchanged 'its directories'
    fi
}

make_directories() { # MODE PATH…
    local mode=$1 path top
    shift
    for path in "$@"; do
        top=$path
        while [[ ! -e ${top%/*} ]]; do top=${top%/*}; done
        on_undo rm -rf "$top"
        mkdir -p "$path"
        chmod "$mode" "$path"
    done
}

ensure_file() { # SOURCE PATH MODE
    if [[ -f $2 && ! -L $2 ]] && cmp -s "$1" "$2" && [[ $(stat -c %a "$2") == "$3" ]]; then
        unchanged "$(shown "$2")"
    else
        change "$(shown "$2")" replace_file "$@"
    fi
}

replace_file() { # SOURCE PATH MODE
    remember "$2"
    # Readable by root alone until its mode is set: it may be a secret.
    (umask 077 && cp "$1" "$2.new")
    chmod "$3" "$2.new"
    mv -fT "$2.new" "$2"
}

ensure_link() { # PATH TARGET
    if [[ -L $1 && $(readlink "$1") == "$2" ]]; then
        unchanged "$(shown "$1") -> $2"
    else
        change "$(shown "$1") -> $2" replace_link "$@"
    fi
}

replace_link() { # PATH TARGET
    remember "$1"
    ln -sfn "$2" "$1.new"
    mv -fT "$1.new" "$1"
}

ensure_absent() { # PATH…: one line for those that are there, silence about the others
    local path found=()
    for path in "$@"; do
        if [[ -e $path || -L $path ]]; then found+=("$path"); fi
    done
    if ((${#found[@]})); then
        change "no more: ${found[*]/#"$ROOT"/}" rm -rf "${found[@]}"
    fi
}

remove_if_empty() { # DIRECTORY…
    local path
    for path in "$@"; do
        if [[ -d $path && -z $(ls -A "$path") ]]; then
            change "no more: $(shown "$path")" rmdir "$path"
        fi
    done
}

kept() { # PATH…: those that are there
    local path found=()
    for path in "$@"; do
        if [[ -e $path ]]; then found+=("$(shown "$path")"); fi
    done
    printf '%s' "${found[*]:-nothing}"
}
