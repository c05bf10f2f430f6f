#!/bin/sh
# Ends this container when its lease is over, though nobody asks for it. adit has put it here.
#
#   FOLDER/in   ROUND SECONDS .   so many seconds are left from the moment on at which this is first read; another round
#                                 counts anew
#   FOLDER/at   ROUND MOMENT .    the end, in seconds since the machine was started, which no clock's step moves
#
# Without an argument, as the image starts what is in its folder, it goes on in the background and looks every few seconds.
# With `once`, as the engine runs it, it looks once.

folder=${ADIT_END_FOLDER:-/adit-end}
halt=${ADIT_END_HALT:-/run/s6/basedir/bin/halt}
every=${ADIT_END_EVERY:-5}

is_over() {
    IFS=' .' read -r now rest </proc/uptime || return 1
    known='' at='' whole=''
    if read -r known at whole 2>/dev/null <"$folder/at"; then :; fi
    # While it is being written it is not there, or not whole.
    if read -r round seconds whole 2>/dev/null <"$folder/in" && [ "$whole" = . ] && [ "$round" != "$known" ]; then
        at=$((now + seconds))
        echo "$round $at ." >"$folder/at.$$" && mv -f "$folder/at.$$" "$folder/at"
    fi
    [ -n "$at" ] && [ "$now" -ge "$at" ]
}

end() {
    "$halt" 2>/dev/null || kill -TERM 1
}

case ${1:-} in
once)
    if is_over; then end; fi
    exit 0
    ;;
loop)
    while [ -e "$0" ]; do
        if is_over; then end; fi
        sleep "$every"
    done
    ;;
*)
    /bin/sh "$0" loop </dev/null >/dev/null 2>&1 &
    ;;
esac
