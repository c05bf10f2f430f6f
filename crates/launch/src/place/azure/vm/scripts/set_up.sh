# Makes this machine a gateway: the container `adit`, which runs if it is there already.

set -e
if docker inspect --type container adit >/dev/null 2>&1; then
    docker start adit >/dev/null
    exit 0
fi
modprobe wireguard 2>/dev/null || true
sysctl -q -w net.ipv4.ip_forward=1
sysctl -q -w net.ipv6.conf.all.forwarding=1 2>/dev/null || true
