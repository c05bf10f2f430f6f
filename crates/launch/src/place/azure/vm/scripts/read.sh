# Says what the gateway in the container `adit` is. The last line is the answer; before it come the peers and the configuration
# of one of them, if the gateway makes the keys. Only the last 4096 bytes of all this get back.
#
#   kind    adit, or linuxserver      peer    whose configuration is wanted, or nothing
#   tries   how often it is looked, every two seconds

config=/etc/adit/config

adit() {
    docker logs adit 2>/dev/null | grep -F '{"adit":"ready",' | tail -n 1
}

linuxserver() {
    key=$(docker exec adit wg show wg0 public-key 2>/dev/null) && [ -n "$key" ] || return 0
    [ -z "$peer" ] || [ -s "$config/peer_$peer/peer_$peer.conf" ] || return 0
    printf '{"adit":"ready","public_key":"%s","listen_port":51820,"plane":"kernel"}\n' "$key"
}

peers() {
    name='' key=''
    while IFS=' ' read -r word second third _; do
        case $word in
        '#') name=${second#peer_} ;;
        PublicKey) key=$third ;;
        AllowedIPs) [ -z "$name" ] || printf 'peer %s %s %s\n' "$name" "$key" "${third%%,*}" ;;
        esac
    done <"$config/wg_confs/wg0.conf"
}

has_ended() {
    case $(docker inspect --type container --format '{{.State.Status}} {{.State.ExitCode}}' adit 2>/dev/null) in
    'exited 0') return 0 ;;
    '') ;;
    *) return 1 ;;
    esac
    case $(systemctl show --property ActiveState,Result,ExecMainStartTimestampMonotonic adit-gateway.service 2>/dev/null | sort | tr '\n' ' ') in
    'ActiveState=inactive ExecMainStartTimestampMonotonic=0 '*) return 1 ;;
    'ActiveState=inactive ExecMainStartTimestampMonotonic='*'Result=success ') return 0 ;;
    esac
    return 1
}

while :; do
    answer=$("$kind")
    [ -z "$answer" ] || break
    if has_ended; then
        answer='{"adit":"ended"}'
        break
    fi
    tries=$((tries - 1))
    if [ "$tries" -le 0 ]; then
        journalctl --no-pager --quiet --output cat --lines 4 --unit adit-gateway.service 2>/dev/null
        docker logs --tail 4 adit 2>&1
        answer='{"adit":"starting"}'
        break
    fi
    sleep 2
done
if [ "$kind" = linuxserver ]; then
    [ ! -r "$config/wg_confs/wg0.conf" ] || peers
    if [ -n "$peer" ] && [ -s "$config/peer_$peer/peer_$peer.conf" ]; then
        echo '=== WIREGUARD_CLIENT_CONFIG_START ==='
        cat "$config/peer_$peer/peer_$peer.conf"
        echo
        echo '=== WIREGUARD_CLIENT_CONFIG_END ==='
    fi
fi
printf '\n%s\n' "$answer"
