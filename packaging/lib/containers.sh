#!/usr/bin/env bash
# What workloads leave in Podman when their agent goes. The label is the one the agent puts on all
# that it makes (piccolo/core/workloads/instances.py).

LABEL=io.piccolo.instance

containers_of_workloads() {
    if command -v podman >/dev/null; then
        podman ps --all --quiet --filter label="$LABEL" 2>/dev/null || true
    fi
}

tell_of_containers() {
    local found
    found=$(containers_of_workloads)
    if [[ -n $found ]]; then
        warn "containers of workloads go on running: $(wc -l <<<"$found"); nobody looks after them now"
        say note "to remove them: podman rm --force \$(podman ps -aq --filter label=$LABEL)"
    fi
}

remove_containers() {
    if [[ -n $(containers_of_workloads) ]]; then
        change 'no more: containers, pods and volumes of workloads' forget_workloads
    fi
}

forget_workloads() {
    local found
    mapfile -t found < <(podman pod ps --quiet --filter label="$LABEL")
    if ((${#found[@]})); then quietly podman pod rm --force "${found[@]}"; fi
    mapfile -t found < <(containers_of_workloads)
    if ((${#found[@]})); then quietly podman rm --force "${found[@]}"; fi
    mapfile -t found < <(podman volume ls --quiet --filter label="$LABEL")
    if ((${#found[@]})); then quietly podman volume rm --force "${found[@]}"; fi
}
