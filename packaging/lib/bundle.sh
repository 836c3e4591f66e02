#!/usr/bin/env bash
# The bundle: one directory, packed or unpacked, with everything that is installed. It is checked as
# a whole before anything is changed: against a checksum from outside where there is one, and always
# against the list that it brings, so that half of one or a mixture of two is noticed.

BUNDLE_FILE=''   # --bundle: the packed one; without, the directory that this script lies in
SHA256=''        # --sha256
BUNDLE=''        # the unpacked one
VERSION=''       # of the program in it

open_bundle() { # NEEDED…: files that must be in it
    local name
    if [[ -n $BUNDLE_FILE ]]; then
        [[ -f $BUNDLE_FILE ]] || fail "there is no file $BUNDLE_FILE (--bundle)"
        BUNDLE_FILE=$(readlink -f "$BUNDLE_FILE")
        check_outer_sum
        unpack
    else
        [[ -z $SHA256 ]] || fail '--sha256 is the checksum of a packed bundle: give --bundle FILE too'
        [[ -f $HERE/SHA256SUMS ]] || fail "$HERE is no unpacked bundle" \
            'Start this script from within one, or give --bundle piccolo-VERSION-linux-ARCH.tar.gz.'
        BUNDLE=$HERE
    fi
    check_inner_sums VERSION program/piccolo "$@"
    read -r VERSION <"$BUNDLE/VERSION" || true # without a newline at its end, too
    [[ $VERSION =~ ^[0-9A-Za-z][0-9A-Za-z.+_-]*$ ]] || fail "the bundle's VERSION is none: $VERSION"
    name=${BUNDLE##*/}
    case $name in
        *-linux-"$ARCH") ;;
        *-linux-*) fail "$name is for another processor: this machine needs one for $ARCH" ;;
    esac
    say bundle "piccolo $VERSION for $ARCH, every file as in its SHA256SUMS"
}

check_outer_sum() {
    local name=${BUNDLE_FILE##*/} wanted=$SHA256 source='--sha256' found
    if [[ -z $wanted && -f $BUNDLE_FILE.sha256 ]]; then
        source=$BUNDLE_FILE.sha256
        read -r wanted _ <"$source" || true
        [[ -n $wanted ]] || fail "$source is empty: get it again, or remove it"
    elif [[ -z $wanted && -f ${BUNDLE_FILE%/*}/SHA256SUMS ]]; then
        source=${BUNDLE_FILE%/*}/SHA256SUMS
        wanted=$(awk -v name="$name" '$2 == name || $2 == "*" name { print $1; exit }' "$source")
    fi
    if [[ -z $wanted ]]; then
        say note "no checksum of $name was given or lies beside it: only the one inside is checked"
        return
    fi
    found=$(sha256sum "$BUNDLE_FILE")
    found=${found%% *}
    [[ ${wanted,,} == "$found" ]] || fail "wrong checksum: $name is not what $source says" \
        "wanted $wanted" "found  $found" 'Get the bundle again.'
}

unpack() {
    local tops=()
    mkdir "$SCRATCH/bundle"
    tar -xzf "$BUNDLE_FILE" -C "$SCRATCH/bundle" --no-same-owner 2>"$SCRATCH/output" ||
        fail "${BUNDLE_FILE##*/} is damaged, incomplete, or no bundle: $(tail -n 1 "$SCRATCH/output")" \
            'Get the bundle again; its unpacking needs room for it in /var/tmp (or TMPDIR).'
    tops=("$SCRATCH"/bundle/*)
    [[ ${#tops[@]} == 1 && -f ${tops[0]}/SHA256SUMS ]] ||
        fail "${BUNDLE_FILE##*/} is no bundle of PICCOLO: it is not one directory with SHA256SUMS"
    BUNDLE=${tops[0]}
}

check_inner_sums() { # NEEDED…
    local file bad listed="$SCRATCH/listed"
    sed 's/^[0-9a-f]* [ *]//; s|^\./||' "$BUNDLE/SHA256SUMS" | LC_ALL=C sort >"$listed"
    for file in "$@"; do
        grep -qxF -- "$file" "$listed" || fail "the bundle is not whole: its SHA256SUMS lacks $file"
    done
    bad=$(cd "$BUNDLE" && LC_ALL=C sha256sum -c SHA256SUMS 2>/dev/null | grep -v ': OK$') || true
    [[ -z $bad ]] || fail 'the bundle is not whole: these files are missing or changed' \
        "${bad//$'\n'/$'\n'       }" 'Get the bundle again.'
    bad=$(cd "$BUNDLE" && find . -type f ! -path ./SHA256SUMS | sed 's|^\./||' |
        LC_ALL=C sort | LC_ALL=C comm -23 - "$listed")
    [[ -z $bad ]] || fail 'the bundle has files that its SHA256SUMS does not know:' \
        "${bad//$'\n'/$'\n'       }" 'Get the bundle again.'
}

program_is_intact() { # DIRECTORY: whether it is the bundle's program, file by file
    sed -n 's|^\([0-9a-f]* [ *]\)\(\./\)\{0,1\}program/|\1|p' "$BUNDLE/SHA256SUMS" |
        (cd "$1" && sha256sum -c - >/dev/null 2>&1)
}
