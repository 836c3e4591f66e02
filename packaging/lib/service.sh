#!/usr/bin/env bash
# A systemd service: installed, enabled, started; and running again as before when the run fails.

PATIENCE=120   # s for a service to start or stop: longer than systemd's own limit

is_active() { systemctl is-active --quiet "$1" 2>/dev/null; }

is_installed() { [[ -f $SYSTEM_UNITS/$1 ]]; }

# Before the first change: undone last, when all files are as they were.
remember_services() { # UNIT…
    local unit
    [[ $SYSTEMD == running ]] || return 0
    for unit in "$@"; do
        if is_active "$unit"; then on_undo systemctl start "$unit"; fi
    done
    on_undo systemctl daemon-reload
}

ensure_unit() { # UNIT FILE
    if [[ $SYSTEMD == none ]]; then
        warn "no systemd here: there is no service $1, nothing is started now or at boot"
        return
    fi
    if [[ -f $SYSTEM_UNITS/$1 ]] && cmp -s "$2" "$SYSTEM_UNITS/$1"; then
        unchanged "$(shown "$SYSTEM_UNITS/$1")"
    else
        change "$(shown "$SYSTEM_UNITS/$1")" install_unit "$@"
    fi
    if systemctl is-enabled --quiet "$1" 2>/dev/null; then
        unchanged "$1 is enabled"
    else
        change "$1 is enabled" enable_unit "$1"
    fi
}

install_unit() { # UNIT FILE
    replace_file "$2" "$SYSTEM_UNITS/$1" 644
    if [[ $SYSTEMD == running ]]; then quietly systemctl daemon-reload; fi
}

enable_unit() {
    on_undo systemctl disable "$1"
    quietly systemctl enable "$1"
}

# Restarted only when this run changed something.
ensure_started() { # UNIT
    if [[ $SYSTEMD != running ]]; then
        if [[ $SYSTEMD == offline ]]; then warn "systemd does not run here: $1 starts at the next boot"; fi
        return
    fi
    if ! is_active "$1"; then
        change "$1 is started" start_unit "$1" start
    elif ((CHANGES)); then
        change "$1 is started again" start_unit "$1" restart
    else
        unchanged "$1 is active"
    fi
}

# Master and agent of one machine are of one program: the other one takes it over, too.
ensure_same_program() { # UNIT
    if $PROGRAM_CHANGED && [[ $SYSTEMD == running ]] && is_installed "$1" && is_active "$1"; then
        change "$1 is started again, with the new program" start_unit "$1" restart
    fi
}

start_unit() { # UNIT VERB
    on_undo systemctl stop "$1"
    if ! with_patience systemctl "$2" "$1"; then
        show_journal "$1"
        fail "$1 did not start" ${OLD:+"The version before, $OLD, takes its place again."}
    fi
}

with_patience() {
    if command -v timeout >/dev/null; then
        quietly timeout "$PATIENCE" "$@"
    else
        quietly "$@"
    fi
}

# An agent that only cannot reach its master goes on trying; one that ends was refused, or is broken.
has_given_up() { # UNIT
    [[ $(systemctl show --property=Result --value "$1") == exit-code ]]
}

show_journal() { # UNIT
    if command -v journalctl >/dev/null; then
        printf 'The last lines of journalctl -u %s:\n' "$1" >&2
        journalctl --unit "$1" --lines 12 --no-pager --output cat 2>/dev/null | sed 's/^/    /' >&2
    fi
}

remove_unit() { # UNIT
    if [[ $SYSTEMD != none ]]; then
        if [[ $SYSTEMD == running ]] && is_active "$1"; then
            change "$1 is stopped" with_patience systemctl stop "$1"
        fi
        if systemctl is-enabled --quiet "$1" 2>/dev/null; then
            change "$1 is disabled" quietly systemctl disable "$1"
        fi
    fi
    if is_installed "$1"; then
        ensure_absent "$SYSTEM_UNITS/$1"
        if [[ $SYSTEMD == running ]] && ! $DRY_RUN; then quietly systemctl daemon-reload; fi
    fi
}
