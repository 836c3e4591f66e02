#!/usr/bin/env bash
# The program: versions lie side by side, and /opt/piccolo/current names the one that holds. To
# upgrade is to swap that link; the version before stays, for going back.
# shellcheck disable=SC2034,SC2153 # some variables are for the other files

OLD=''   # the version that held before, when it was another one
PROGRAM_CHANGED=false

ensure_program() {
    local versions=$OPT/versions before=$CHANGES
    if [[ -L $OPT/current ]]; then
        OLD=$(readlink "$OPT/current")
        OLD=${OLD##*/}
        if [[ $OLD == "$VERSION" ]]; then OLD=''; fi
    fi
    if [[ -d $versions/$VERSION ]] && program_is_intact "$versions/$VERSION"; then
        unchanged "$(shown "$versions/$VERSION")"
    else
        change "$(shown "$versions/$VERSION")" place_program "$versions/$VERSION"
    fi
    ensure_link "$OPT/current" "versions/$VERSION"
    if ((CHANGES > before)); then PROGRAM_CHANGED=true; fi
    ensure_link "$BIN/piccolo" /opt/piccolo/current/piccolo
}

place_program() { # DIRECTORY
    local said
    on_undo rm -rf "$1.new"
    rm -rf "$1.new"
    # Not -a: owners and security labels are the machine's, not those of where it was unpacked.
    cp -dR "$BUNDLE/program" "$1.new"
    # To uninstall it where there is no bundle.
    mkdir "$1.new/installer"
    cp -R "$BUNDLE"/install_*.sh "$BUNDLE/lib" "$1.new/installer"
    chmod -R u=rwX,go=rX "$1.new"
    said=$("$1.new/piccolo" --version 2>&1 </dev/null) ||
        fail "this bundle's program does not run on this machine ($(uname -m)):" "${said##*$'\n'}" \
            'Its C library may be older than the one the bundle was made for.'
    if [[ -e $1 ]]; then
        rm -rf "$1.old"
        on_undo mv -T "$1.old" "$1"
        mv -T "$1" "$1.old"
    fi
    on_undo rm -rf "$1"
    mv -T "$1.new" "$1"
}

# Only the version that holds and the one before it stay. Called when nothing can fail any more.
forget_old_versions() {
    local path version
    for path in "$OPT"/versions/*; do
        version=${path##*/}
        if [[ $version == *.old ]]; then
            ensure_absent "$path"
        elif [[ -n $OLD && $version != "$OLD" && $version != "$VERSION" ]]; then
            ensure_absent "$path" "$OPT"/bundles/piccolo-"$version"-linux-*.tar.gz
        fi
    done
}

remove_program() {
    ensure_absent "$BIN/piccolo" "$CHECK" "$OPT/current" "$OPT/versions" "$RUN"
    remove_if_empty "$OPT"
}

# ---- the readiness check ----

check_machine() { # ROLE MASTER PORT
    local script=$BUNDLE/node_ready_check.sh code=0
    run_check "$script" "$@" || code=$?
    if ((code > 1)); then
        warn "the check of the bundle cannot run here (exit $code): a simpler one takes its place"
        script=$SCRATCH/check
        simple_check >"$script"
        code=0
        run_check "$script" "$@" || code=$?
    fi
    if ((code == 0)); then
        say checked 'this machine is ready'
    elif $FORCE || $DRY_RUN; then
        warn 'this machine is not ready, see above'
    else
        fail 'this machine is not ready, see above' \
            'Put that right and run this again, or install all the same with --force.'
    fi
    ensure_file "$script" "$CHECK" 755
}

run_check() { # SCRIPT ROLE MASTER PORT
    local runner=()
    if command -v timeout >/dev/null; then runner=(timeout 60); fi
    set -- "$3" "$4" "$1" "$2"
    if $DRY_RUN; then set -- "$@" --no-write; fi
    PICCOLO_ROOT=$ROOT MASTER_NODE_IP=$1 GRPC_PORT=$2 "${runner[@]}" sh "${@:3}" </dev/null 2>&1 |
        sed 's/^/    /'
}

# It never says `ready`: it knows too little for that.
simple_check() {
    cat <<'END'
#!/bin/sh
# PICCOLO: takes the place of node_ready_check.sh where that cannot run. It only looks for Podman.
result=/dev/null
case $* in
    *--no-write*) ;;
    *)
        result=${PICCOLO_ROOT:-}/var/run/piccolo/node_status
        mkdir -p "${result%/*}"
        ;;
esac
if command -v podman >/dev/null 2>&1; then
    echo 'warning: only Podman was looked for, the full check cannot run on this machine'
    echo status=warning >"$result"
else
    echo 'error: Podman is not installed'
    echo status=failed >"$result"
    exit 1
fi
END
}
