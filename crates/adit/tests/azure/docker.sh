#!/bin/sh
# Docker, as far as a machine of adit's needs it: every image is the adit of the test.
#
#   $LIGHT_STATE  where containers are: a folder each, with `log`, `pid` and `state`
#   $LIGHT_ADIT   the program

of() {
    folder=$LIGHT_STATE/$1
    [ -d "$folder" ] && return
    echo "Error: No such object: $1" >&2
    exit 1
}

# Runs the container of $folder once, and leaves its exit code in $code.
once() {
    "$LIGHT_ADIT" "$@" >>"$folder/log" 2>&1 &
    echo $! >"$folder/pid"
    echo "running $restarts" >"$folder/state"
    wait $!
    code=$?
    [ ! -d "$folder" ] || echo "exited $code" >"$folder/state"
}

# Runs it until it ends as it should, or is removed.
often() {
    once "$@"
    while [ -n "$again" ] && [ "$code" != 0 ] && [ -d "$folder" ] && [ ! -e "$folder/stopped" ]; do
        sleep 0.1
        restarts=$((restarts + 1))
        once "$@"
    done
}

last() {
    for name; do :; done
    of "$name"
}

call=$1
shift
case $call in
run)
    detach='' remove='' name='' again='' restarts=0
    while :; do
        case $1 in
        --detach) detach=1 ;;
        --rm) remove=1 ;;
        --name) name=$2 && shift ;;
        --restart) again=1 && shift ;;
        --read-only | --no-healthcheck) ;;
        --*) shift ;;
        *) break ;;
        esac
        shift
    done
    shift # the image
    folder=$LIGHT_STATE/$name
    if ! mkdir "$folder" 2>/dev/null; then
        echo "docker: Error response from daemon: Conflict. The container name \"/$name\" is already in use." >&2
        exit 125
    fi
    : >"$folder/log"
    if [ -n "$detach" ]; then
        often "$@" </dev/null >/dev/null 2>&1 &
        echo "$name"
        exit 0
    fi
    once "$@"
    [ -z "$remove" ] || rm -rf "$folder"
    exit "$code"
    ;;
rm | stop)
    last "$@"
    : >"$folder/stopped"
    kill -9 "$(cat "$folder/pid")" 2>/dev/null
    [ "$call" = stop ] || rm -rf "$folder"
    ;;
start) of "$1" ;;
inspect) last "$@" && cat "$folder/state" ;;
logs) last "$@" && cat "$folder/log" ;;
*)
    echo "docker: '$call' is not a docker command." >&2
    exit 1
    ;;
esac
