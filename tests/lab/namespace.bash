# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# What up, down and enter know about a lab's folder. Source it, then call lab_use DIR.
#
#   DIR/lab.pid   "PID START MNTNS PIDNS": the lab's first process as seen by who started it, its
#                 start time (a recycled pid is never taken for it), its mount namespace, and the
#                 pid namespace in which PID is counted
#   DIR/alive     locked by that process as long as it lives
#   DIR/.lab      marks a folder that `up` made and `down` may delete

# shellcheck disable=SC2034  # for those who source this
lab_here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

say() { echo "lab: $*" >&2; }
die() { say "$*"; exit 1; }

lab_use() {                                  # lab_use DIR: sets $dir
    [ -n "${1:-}" ] || die "which folder?"
    dir=$(realpath -m -- "$1")
    case $dir in
    / | /run | /run/* | /var/lib/libvirt* | /proc* | /sys* | /dev*) die "$dir cannot be a lab" ;;
    *[[:space:]:,\"\'\\]*) die "$dir: no blanks, quotes, commas or colons, please" ;;
    esac
}

start_time() {                               # start_time PID
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # field 22; after the command's name, which may hold anything, comes field 3
    awk '{ print $20 }' <<<"${stat##*) }"
}

# Prints the pid of the lab's first process if it lives.
lab_pid() {
    local pid start mnt pidns
    read -r pid start mnt pidns 2>/dev/null <"$dir/lab.pid" || return 1
    [ -n "$mnt" ] || return 1
    if [ "$pidns" != "$(readlink /proc/self/ns/pid)" ]; then
        # started in another environment; it may have ended together with that
        if [ ! -e "$dir/alive" ] || flock -n "$dir/alive" true; then return 1; fi
        die "$dir was started in another environment (a Debian 13 root?), handle it there"
    fi
    [ "$(start_time "$pid")" = "$start" ] || return 1
    echo "$pid"
}
