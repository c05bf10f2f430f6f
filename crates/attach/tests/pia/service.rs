//! A service with two regions, and a provider that is set up for it.

use std::{
    collections::BTreeSet,
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use attach::{
    Offer,
    provider::{
        Ask, Dial, Endpoint, Provider as _, ProviderError,
        pia::{Config, Credentials, Endpoints, Pia},
    },
};
use netlab::serve::{
    Server,
    pia::{self, PiaServer},
};
use tokio::net::TcpStream;

/// The public key of every server's WireGuard.
pub(crate) const SERVER_KEY: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=";

/// Its UDP port.
pub(crate) const SERVER_PORT: u16 = 51337;

pub(crate) struct Service {
    pub(crate) pia: pia::Pia,
    server: Server,
    pub(crate) folder: tempfile::TempDir,
}

/// A server of a region: `number` is in its addresses, 127.0.0.N and 10.1.N.1.
pub(crate) fn server(region: &'static str, cn: &str, number: u8) -> PiaServer {
    PiaServer {
        region,
        cn: cn.to_owned(),
        ip: [127, 0, 0, number].into(),
        vip: [10, 1, number, 1].into(),
        forwards: !region.starts_with("us_"),
        offline: region == "offline",
    }
}

pub(crate) fn servers() -> Vec<PiaServer> {
    vec![
        server("swiss", "zurich401", 11),
        server("swiss", "Server-12706-0a", 12),
        server("swiss", "zurich403", 13),
        server("us_texas", "texas401", 21),
        server("offline", "nowhere401", 31),
    ]
}

impl Service {
    pub(crate) fn new() -> Self {
        let pia = pia::Pia::new(servers(), |_key| (SERVER_KEY.to_owned(), SERVER_PORT));
        let server = pia.listen(None, 0);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("web.pem"), pia.web_pem()).unwrap();
        fs::write(
            folder.path().join("credentials"),
            format!("{}\n{}\n", pia::USER, pia::PASSWORD),
        )
        .unwrap();
        Self { pia, server, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(Credentials::File(self.path("credentials")), self.cache());
        let at = SocketAddr::from(([127, 0, 0, 1], self.server.port()));
        let endpoint = |path| Endpoint::new(&format!("https://{}/{path}", pia::HOST)).unwrap().at(at);
        config.endpoints = Endpoints {
            api: endpoint("api"),
            list: endpoint("servers"),
            ca: endpoint("ca.crt"),
            ca_sha256: self.pia.authority_sha256(),
            roots: Some(self.path("web.pem")),
        };
        config.region = "swiss".to_owned();
        config
    }

    pub(crate) fn provider(&self) -> Pia {
        Pia::open(self.config()).unwrap()
    }

    /// The way into a container whose tunnel leads to the service.
    pub(crate) fn dial(&self) -> Tunnel {
        Tunnel(self.server.port())
    }
}

/// Stands for a tunnel: 10.1.N.1 is 127.0.0.N.
pub(crate) struct Tunnel(u16);

#[async_trait]
impl Dial for Tunnel {
    async fn tcp(&self, to: SocketAddr) -> io::Result<TcpStream> {
        assert_eq!(to.port(), 19999, "ports are asked for at 19999");
        let IpAddr::V4(vip) = to.ip() else {
            panic!("{to}");
        };
        let [10, 1, number, 1] = vip.octets() else {
            panic!("{to}");
        };
        TcpStream::connect(SocketAddr::from(([127, 0, 0, number], self.0))).await
    }
}

/// What a container asks.
pub(crate) fn ask(holder: &str) -> Ask {
    Ask {
        holder: holder.to_owned(),
        name: format!("name of {holder}"),
        ..Ask::default()
    }
}

pub(crate) fn ask_in(holder: &str, region: &str) -> Ask {
    Ask {
        region: Some(region.to_owned()),
        ..ask(holder)
    }
}

/// What a container asks whose servers have just failed.
pub(crate) fn ask_without(holder: &str, avoid: &[&str]) -> Ask {
    Ask {
        avoid: avoid.iter().map(|cn| (*cn).to_owned()).collect::<BTreeSet<_>>(),
        ..ask(holder)
    }
}

/// The text of a refusal for good.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, ProviderError>) -> String {
    match result {
        Err(ProviderError::Refused(text)) => text,
        other => panic!("it is no refusal: {other:?}"),
    }
}

/// The text of an error that may pass.
#[track_caller]
pub(crate) fn unavailable<T: std::fmt::Debug>(result: Result<T, ProviderError>) -> String {
    match result {
        Err(ProviderError::Unavailable(text)) => text,
        other => panic!("it is not unavailable: {other:?}"),
    }
}

/// Gives a container a tunnel.
pub(crate) async fn connect(pia: &Pia, holder: &str) -> Offer {
    pia.connect(&ask(holder)).await.unwrap()
}

/// The modes of the files in a directory, and their names.
pub(crate) fn modes(directory: &Path) -> Vec<(String, u32)> {
    use std::os::unix::fs::PermissionsExt as _;
    let entries = fs::read_dir(directory).unwrap();
    let mut modes: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    modes.sort();
    modes
}
