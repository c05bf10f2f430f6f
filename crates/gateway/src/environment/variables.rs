//! Every environment variable of `adit serve`, as its documentation has it.

/// One environment variable, for the documentation.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name. What stands in angle brackets is any text.
    pub name: &'static str,
    /// What an unset or empty variable means.
    pub default: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

/// Every variable that [`Environment::read`](super::Environment::read) knows.
pub const VARIABLES: [Variable; 22] = [
    Variable {
        name: "PEERS",
        default: "none: client mode, unless `--peers` is given",
        meaning: "How many peers (`3`: peer1, peer2, peer3), or their names between commas (`laptop,phone`). \
                  `0` is a gateway to which peers are added while it runs. A peer that is left out loses its access; \
                  its directory stays.",
    },
    Variable {
        name: "SERVERURL",
        default: "`auto`",
        meaning: "The address or name under which clients reach the gateway. `auto` takes this machine's address for \
                  new peers, and leaves the clients' configurations that are there as they are.",
    },
    Variable {
        name: "SERVERPORT",
        default: "the port that the gateway listens on",
        meaning: "The UDP port that clients connect to, 1 to 65535.",
    },
    Variable {
        name: "INTERNAL_SUBNET",
        default: "`10.13.13.0`",
        meaning: "The peers' IPv4 network. Without a prefix length it is a /24, whatever its last number. \
                  The gateway has its first address, or keeps the one that it had.",
    },
    Variable {
        name: "INTERNAL_SUBNET6",
        default: "a random /64 of fd00::/8, made at the first start; none in a directory that has no IPv6",
        meaning: "The peers' IPv6 network, a /64 without a prefix length; or `none`.",
    },
    Variable {
        name: "ALLOWEDIPS",
        default: "`0.0.0.0/0, ::/0`",
        meaning: "The networks that clients send through the tunnel, between commas.",
    },
    Variable {
        name: "PEERDNS",
        default: "`auto`",
        meaning: "The clients' DNS servers and search domains, between commas. `auto` is the gateway itself, which \
                  forwards to this host's resolvers; with its DNS off it is nothing.",
    },
    Variable {
        name: "PERSISTENTKEEPALIVE_PEERS",
        default: "none",
        meaning: "Peers, as in `PEERS`, to which the gateway sends a keepalive each 25 seconds; or `all`.",
    },
    Variable {
        name: "SERVER_ALLOWEDIPS_PEER_<peer>",
        default: "none",
        meaning: "Networks behind this peer, between commas: the gateway routes them to it. <peer> is as in `PEERS`.",
    },
    Variable {
        name: "LOG_CONFS",
        default: "`true`",
        meaning: "Whether the QR codes of configurations that a start, or an edited file, makes or changes are written \
                  to the log, if they are 253 or fewer.",
    },
    Variable {
        name: "USE_COREDNS",
        default: "`true` where port 53 is free; `false` in client mode",
        meaning: "`false` switches off DNS on the gateway's own address; `true` makes a port 53 that is taken an error. \
                  In client mode `true` has DNS answer on port 53 of all addresses.",
    },
    Variable {
        name: "DNS_UPSTREAM",
        default: "this host's resolvers",
        meaning: "The resolvers that DNS forwards to, the gateway's or the client's, between commas: `ADDRESS[:PORT]`, or over TLS \
                  `tls://ADDRESS[:PORT][#NAME]` with the name that the certificate must have.",
    },
    Variable {
        name: "ALLOWED_DESTINATIONS",
        default: "everything that the gateway's policy lets pass",
        meaning: "What all peers may reach, between commas: `NETWORK[:PORT[-PORT]][/tcp|/udp|/icmp]`, for instance \
                  `10.0.0.0/8, 192.0.2.7:443/tcp, [2001:db8::7]:53`; or `none`. The gateway's own DNS and ping are \
                  always open.",
    },
    Variable {
        name: "ALLOWED_DESTINATIONS_PEER_<peer>",
        default: "as `ALLOWED_DESTINATIONS`",
        meaning: "What this peer may reach, in place of `ALLOWED_DESTINATIONS`. <peer> is as in `PEERS`.",
    },
    Variable {
        name: "PEER_TO_PEER",
        default: "`true`",
        meaning: "Whether peers reach each other.",
    },
    Variable {
        name: "METRICS",
        default: "off",
        meaning: "Where `/healthz` and `/metrics` are served: `ADDRESS:PORT`, or `:PORT` for all addresses.",
    },
    Variable {
        name: "LOG_FORMAT",
        default: "`text`",
        meaning: "How the log is written: `text`, or `json` with one object a line.",
    },
    Variable {
        name: "PUID",
        default: "the files keep the owner that they have",
        meaning: "The number of the user to whom the directory's files belong, if adit runs as root.",
    },
    Variable {
        name: "PGID",
        default: "the files keep the group that they have",
        meaning: "The number of the group to which the directory's files belong, if adit runs as root.",
    },
    Variable {
        name: "UMASK",
        default: "the process's own",
        meaning: "Permissions that new files and directories do not get, in octal (`022`). Files with keys are for \
                  their owner alone whatever it says.",
    },
    Variable {
        name: "TZ",
        default: "UTC",
        meaning: "The time zone of the log's moments: a POSIX time zone (`CET-1CEST,M3.5.0,M10.5.0/3`), or the name of \
                  one that this system has. Where there is none of that name they are in UTC.",
    },
    Variable {
        name: "FILE__<variable>",
        default: "none",
        meaning: "A file that holds the value of <variable>, for secrets. A line break at its end does not count. It \
                  wins over the variable itself.",
    },
];
