#!/bin/sh
# Systemd's part on a machine of adit's: carries the lines of one unit out, as `Restart=on-failure` says, and tells of it.
#
#   systemd run    reads `pre WORDS`, `try WORDS` and `main WORDS` from standard input
#   systemctl      show: the unit's state in the words of its properties

state=$LIGHT_STATE/unit
case ${0##*/} in
systemctl)
    if [ ! -e "$state" ]; then
        printf 'ActiveState=inactive\nResult=success\nExecMainStartTimestampMonotonic=0\n'
    elif [ "$(cat "$state")" = running ]; then
        printf 'ActiveState=active\nResult=success\nExecMainStartTimestampMonotonic=7\n'
    else
        printf 'ActiveState=inactive\nResult=success\nExecMainStartTimestampMonotonic=7\n'
    fi
    ;;
journalctl) cat "$LIGHT_STATE/journal" 2>/dev/null ;;
modprobe) exit 1 ;;
systemd)
    lines=$(cat)
    (
        while :; do
            failed=''
            while read -r kind words; do
                case $kind in
                pre) $words </dev/null || failed=1 ;;
                try) $words </dev/null || : ;;
                main)
                    [ -z "$failed" ] || break
                    echo running >"$state"
                    if $words </dev/null; then
                        echo ended >"$state"
                        exit
                    fi
                    ;;
                esac
            done <<LINES
$lines
LINES
            sleep 0.2
        done
    ) </dev/null >>"$LIGHT_STATE/journal" 2>&1 &
    ;;
esac
