#!/usr/bin/env bash
# What a run does, says, and takes back when it fails.
#
# A step looks first. What is as it should be is `unchanged`; everything else is a `change`, which
# a dry run only names. Whatever a change does it first writes down how to undo (`on_undo`), in
# commands that a person could type. A run that ends before `commit` undoes them, newest first.

DRY_RUN=false
CHANGES=0
KEPT=0
STEP=''      # the change under way
SAID=false   # whether it was said why the run fails
UNDO=()      # commands, oldest first
STAYS=()     # what was done and is not undone
SCRATCH=''   # a directory of this run, for copies of what it replaces

say() { printf '  %-9s  %s\n' "$1" "$2"; }
warn() { say warning "$1"; }

fail() { # MESSAGE…: one line each
    SAID=true
    printf 'error: %s\n' "$1" >&2
    shift
    if (($#)); then printf '       %s\n' "$@" >&2; fi
    exit 1
}

unchanged() {
    KEPT=$((KEPT + 1))
    say unchanged "$1"
}

change() { # WHAT COMMAND…; never as a condition: `set -e` would not hold in the command
    STEP=$1
    shift
    CHANGES=$((CHANGES + 1))
    if $DRY_RUN; then
        say 'would be' "$STEP"
    else
        "$@"
        say changed "$STEP"
    fi
    STEP=''
}

quietly() { # COMMAND…: its output is shown when it fails, and only then
    if "$@" >"$SCRATCH/output" 2>&1 </dev/null; then return; fi
    printf '%s failed:\n' "$*" >&2
    tail -n 15 "$SCRATCH/output" | sed 's/^/    /' >&2
    return 1
}

on_undo() { UNDO+=("$(printf '%q ' "$@")"); }

stays() { STAYS+=("$1"); }

begin() {
    trap leave EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # Not /tmp, which may be memory that a small machine does not have.
    SCRATCH=$(mktemp -d "${TMPDIR:-/var/tmp}/piccolo.XXXXXX")
}

commit() {
    UNDO=()
    STAYS=()
}

leave() {
    local status=$?
    trap '' HUP INT TERM
    set +e
    if ((status)); then
        if [[ -n $STEP ]]; then
            printf 'error: this step failed: %s\n' "$STEP" >&2
        elif ! $SAID; then
            echo 'error: it ended in the step after the last one above' >&2
        fi
        roll_back >&2
    fi
    if [[ -n $SCRATCH ]]; then rm -rf "$SCRATCH"; fi
    exit "$status"
}

roll_back() {
    local i by_hand=()
    if ((${#UNDO[@]})); then
        for ((i = ${#UNDO[@]} - 1; i >= 0; i--)); do
            eval "${UNDO[i]}" >/dev/null 2>&1 </dev/null || by_hand+=("${UNDO[i]}")
        done
        ((${#by_hand[@]})) || echo 'What this run had changed was taken back.'
    elif ! ((${#STAYS[@]})); then
        echo 'Nothing was changed.'
    fi
    if ((${#STAYS[@]})); then printf 'Not taken back: %s\n' "${STAYS[@]}"; fi
    if ((${#by_hand[@]})); then
        echo 'Not all of it could be taken back. Do it by hand, in this order:'
        printf '    %s\n' "${by_hand[@]}"
        SCRATCH='' # the copies are still needed
    fi
}

summary() { # WHAT: the last line of a run
    if $DRY_RUN; then
        echo "Dry run of $1: nothing was done; $CHANGES to change, $KEPT unchanged."
    elif ((CHANGES)); then
        echo "$1: $CHANGES changed, $KEPT unchanged."
    else
        echo "$1: nothing to change, all $KEPT unchanged."
    fi
}
