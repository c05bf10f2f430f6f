//! The templates of a new directory, as linuxserver's image writes them: who returns to it finds what it knows.

/// `templates/server.conf`. Its `PostUp` and `PostDown` are what a gateway does by itself.
pub const SERVER: &str = "\
[Interface]
Address = ${INTERFACE}.1
ListenPort = 51820
PrivateKey = $(cat /config/server/privatekey-server)
PostUp = iptables -A FORWARD -i %i -j ACCEPT; iptables -A FORWARD -o %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth+ -j MASQUERADE
PostDown = iptables -D FORWARD -i %i -j ACCEPT; iptables -D FORWARD -o %i -j ACCEPT; iptables -t nat -D POSTROUTING -o eth+ -j MASQUERADE
";

/// `templates/peer.conf`.
pub const PEER: &str = "\
[Interface]
Address = ${CLIENT_IP}
PrivateKey = $(cat /config/${PEER_ID}/privatekey-${PEER_ID})
ListenPort = 51820
DNS = ${PEERDNS}

[Peer]
PublicKey = $(cat /config/server/publickey-server)
PresharedKey = $(cat /config/${PEER_ID}/presharedkey-${PEER_ID})
Endpoint = ${SERVERURL}:${SERVERPORT}
AllowedIPs = ${ALLOWEDIPS}
";

/// `coredns/Corefile`. Kept for who returns: the gateway's own DNS does not read it.
pub const COREFILE: &str = "\
. {
    loop
    errors
    health
    forward . /etc/resolv.conf
}
";
