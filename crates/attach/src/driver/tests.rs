use std::{collections::BTreeMap, future::pending, time::Instant};

use docker::driver::Answer as _;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::*;

/// What a provider was asked, in words.
#[derive(Default)]
struct Fake {
    said: Mutex<Vec<String>>,
    addresses: Vec<IpNet>,
}

impl Fake {
    fn say(&self, text: String) {
        self.said.lock().unwrap().push(text);
    }

    /// What was said since the last time; made-up holders are told by their first appearance.
    fn said(&self) -> Vec<String> {
        std::mem::take(&mut self.said.lock().unwrap())
    }
}

#[async_trait]
impl Tunnels for Fake {
    async fn check(&self, wish: &Wish) -> Result<(), String> {
        match wish.region.as_deref() {
            Some("atlantis") => Err("there is no region atlantis".to_owned()),
            _ => Ok(()),
        }
    }

    async fn reserve(&self, holder: &str, wish: &Wish) -> Result<Vec<IpNet>, String> {
        let region = wish.region.clone().unwrap_or_default();
        self.say(format!("reserve {} {region}", short(holder)));
        match region.as_str() {
            "down" => Err("the provider is down".to_owned()),
            "slow" => pending().await,
            _ => Ok(self.addresses.clone()),
        }
    }

    async fn join(&self, endpoint: &Endpoint) -> Result<Joined, String> {
        self.say(format!("join {} {}", short(&endpoint.holder), endpoint.sandbox));
        if endpoint.sandbox == "/broken" {
            return Err("no interface".to_owned());
        }
        Ok(Joined {
            interface: "adit1".to_owned(),
            routes: ["0.0.0.0/1", "128.0.0.0/1", "::/1"]
                .map(|text| text.parse().unwrap())
                .into(),
        })
    }

    async fn leave(&self, endpoint: &Endpoint) {
        self.say(format!("leave {} {}", short(&endpoint.holder), endpoint.sandbox));
    }

    async fn release(&self, holder: &str) {
        self.say(format!("release {}", short(holder)));
    }
}

/// A holder, or that it was made up.
fn short(holder: &str) -> &str {
    if holder.len() == 64 { "new" } else { holder }
}

struct Bench {
    driver: Arc<Driver>,
    fake: Arc<Fake>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(addresses: &[&str]) -> Self {
        let fake = Arc::new(Fake {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..Fake::default()
        });
        let folder = tempfile::tempdir().unwrap();
        let mut driver = Driver::open(&folder.path().join("networks.json"), Arc::clone(&fake) as _).unwrap();
        driver.limit = Duration::from_millis(100);
        Self {
            driver: Arc::new(driver),
            fake,
            folder,
        }
    }

    async fn call(&self, method: &str, body: Value) -> Value {
        let body = body.to_string();
        let (status, answer) = Arc::clone(&self.driver).answer(method, body.as_bytes()).await;
        assert_eq!(status, StatusCode::OK, "{method}");
        answer
    }

    /// Makes a network as Docker does, with the driver's own addresses, and gives its pool.
    async fn network(&self, id: &str, region: &str) -> String {
        let pool = self.call("IpamDriver.RequestPool", json!({ "V6": false })).await;
        let pool = pool["PoolID"].as_str().unwrap().to_owned();
        let asked = json!({
            "PoolID": pool,
            "Address": "",
            "Options": { "RequestAddressType": "com.docker.network.gateway" },
        });
        let gateway = self.call("IpamDriver.RequestAddress", asked).await;
        let made = json!({
            "NetworkID": id,
            "Options": {
                "com.docker.network.enable_ipv6": false,
                "com.docker.network.generic": { "region": region },
            },
            "IPv4Data": [{ "AddressSpace": "adit", "Gateway": gateway["Address"], "Pool": "0.0.0.0/0" }],
        });
        assert_eq!(self.call("NetworkDriver.CreateNetwork", made).await, json!({}));
        pool
    }
}

fn refusal(answer: &Value) -> &str {
    assert_eq!(answer["Err"], answer["Error"], "{answer}");
    answer["Err"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_container_s_life_in_a_network_with_the_provider_s_addresses() {
    let bench = Bench::new(&["fd00::2/128", "10.9.8.7/32"]);
    let pool = bench.network("n", "swiss").await;
    let place = json!({ "PoolID": pool, "Address": "10.9.8.7" });
    let endpoint = json!({ "NetworkID": "n", "EndpointID": "e", "Interface": { "Address": "10.9.8.7/32" } });
    let sandbox = json!({ "NetworkID": "n", "EndpointID": "e", "SandboxKey": "/s", "Options": null });
    let joined = json!({
        "InterfaceName": { "SrcName": "adit1", "DstPrefix": "wg" },
        "StaticRoutes": [
            { "Destination": "0.0.0.0/1", "RouteType": 1 },
            { "Destination": "128.0.0.0/1", "RouteType": 1 },
        ],
        "DisableGatewayService": true,
    });
    let interface = json!({ "Interface": {} });
    for (method, body, answer, said) in [
        (
            "IpamDriver.RequestAddress",
            json!({ "PoolID": pool, "Options": null }),
            json!({ "Address": "10.9.8.7/32" }),
            &["reserve new swiss"][..],
        ),
        ("NetworkDriver.CreateEndpoint", endpoint.clone(), interface, &[]),
        ("NetworkDriver.Join", sandbox, joined, &["join new /s"]),
        (
            "NetworkDriver.EndpointOperInfo",
            endpoint.clone(),
            json!({ "Value": {} }),
            &[],
        ),
        ("NetworkDriver.Leave", endpoint.clone(), json!({}), &["leave new /s"]),
        ("NetworkDriver.DeleteEndpoint", endpoint, json!({}), &["release new"]),
        ("IpamDriver.ReleaseAddress", place, json!({}), &[]),
        (
            "NetworkDriver.DeleteNetwork",
            json!({ "NetworkID": "n" }),
            json!({}),
            &[],
        ),
        ("IpamDriver.ReleasePool", json!({ "PoolID": pool }), json!({}), &[]),
    ] {
        assert_eq!(bench.call(method, body).await, answer, "{method}");
        assert_eq!(bench.fake.said(), said, "{method}");
    }
    assert!(bench.driver.networks().find("n").is_none());
}

#[tokio::test]
async fn a_container_s_life_in_a_network_with_docker_s_addresses() {
    let bench = Bench::new(&["10.9.8.7/32"]);
    let made = json!({
        "NetworkID": "n",
        "Options": { "com.docker.network.generic": { "provider": "pia", "region": "swiss" } },
        "IPv4Data": [{ "AddressSpace": "LocalDefault", "Gateway": "172.18.0.1/16", "Pool": "172.18.0.0/16" }],
        "IPv6Data": [],
    });
    let endpoint = json!({ "NetworkID": "n", "EndpointID": "e", "Interface": { "Address": "172.18.0.2/16" } });
    let sandbox = json!({ "NetworkID": "n", "EndpointID": "e", "SandboxKey": "/s" });
    for (method, body, said) in [
        ("NetworkDriver.CreateNetwork", made, &[][..]),
        ("NetworkDriver.CreateEndpoint", endpoint.clone(), &["reserve e swiss"]),
        ("NetworkDriver.Join", sandbox, &["join e /s"]),
        ("NetworkDriver.Leave", endpoint.clone(), &["leave e /s"]),
        ("NetworkDriver.DeleteEndpoint", endpoint, &["release e"]),
    ] {
        let answer = bench.call(method, body).await;
        assert_eq!(answer["Err"], Value::Null, "{method}");
        assert_eq!(bench.fake.said(), said, "{method}");
    }
}

#[tokio::test]
async fn a_network_that_cannot_be_is_refused_when_it_is_made() {
    let bench = Bench::new(&[]);
    let options = |options: Value| json!({ "NetworkID": "n", "Options": { "com.docker.network.generic": options } });
    for (method, body, text) in [
        (
            "NetworkDriver.CreateNetwork",
            options(json!({ "regoin": "swiss" })),
            "option regoin: there is none of this name; there are provider, region, conf, dns, lan, port-forward",
        ),
        (
            "NetworkDriver.CreateNetwork",
            options(json!({ "provider": "nord" })),
            "option provider=nord: it takes file, pia or gateway",
        ),
        (
            "NetworkDriver.CreateNetwork",
            options(json!({ "region": "atlantis" })),
            "there is no region atlantis",
        ),
        (
            "NetworkDriver.CreateNetwork",
            options(json!(["region"])),
            "com.docker.network.generic: invalid type: sequence, expected a map",
        ),
        (
            "NetworkDriver.CreateNetwork",
            json!({ "NetworkID": "n", "Options": { "com.docker.network.enable_ipv6": true } }),
            "the tunnel brings its own IPv6 addresses: leave --ipv6 out",
        ),
        (
            "NetworkDriver.CreateNetwork",
            json!({ "NetworkID": "n", "Options": { "com.docker.network.internal": true } }),
            "a tunnel leads outside: leave --internal out",
        ),
        ("NetworkDriver.CreateNetwork", json!("n"), ""),
        (
            "IpamDriver.RequestPool",
            json!({ "Pool": "10.0.0.0/8" }),
            "the provider gives the addresses: leave --subnet and --ip-range out",
        ),
        (
            "IpamDriver.RequestPool",
            json!({ "V6": true }),
            "the tunnel brings its own IPv6 addresses: leave --ipv6 out",
        ),
        (
            "IpamDriver.RequestPool",
            json!({ "Options": { "region": "swiss" } }),
            "--ipam-opt region: adit takes its options by -o, as -o region=…",
        ),
        (
            "IpamDriver.RequestAddress",
            json!({
                "PoolID": "240.0.0.1",
                "Address": "10.0.0.1",
                "Options": { "RequestAddressType": "com.docker.network.gateway" },
            }),
            "the provider gives the addresses: leave --gateway out",
        ),
    ] {
        let answer = bench.call(method, body.clone()).await;
        if body.is_string() {
            assert!(refusal(&answer).starts_with("the call makes no sense"), "{answer}");
        } else {
            assert_eq!(refusal(&answer), text, "{body}");
        }
    }
    assert!(bench.driver.networks().find("n").is_none());
    assert_eq!(bench.fake.said(), [""; 0]);
}

#[tokio::test]
async fn a_tunnel_that_does_not_come_is_an_error_with_a_reason() {
    let bench = Bench::new(&["10.9.8.7/32"]);
    for (region, text) in [
        ("down", "the provider is down"),
        ("slow", "no tunnel came within 100ms: see the log of adit attach"),
    ] {
        let pool = bench.network(region, region).await;
        let answer = bench.call("IpamDriver.RequestAddress", json!({ "PoolID": pool })).await;
        assert_eq!(refusal(&answer), text);
        assert_eq!(
            bench.fake.said(),
            [format!("reserve new {region}"), "release new".to_owned()]
        );
    }
    let pool = bench.network("n", "swiss").await;
    let endpoint = |address: &str| json!({ "NetworkID": "n", "EndpointID": "e", "Interface": { "Address": address } });
    let with_mac = json!({ "NetworkID": "n", "EndpointID": "e", "Interface": { "MacAddress": "02:42:0a:09:08:07" } });
    let sandbox = |path: &str| json!({ "NetworkID": "n", "EndpointID": "e", "SandboxKey": path });
    for (method, body, text) in [
        (
            "IpamDriver.RequestAddress",
            json!({ "PoolID": pool, "Address": "10.0.0.1" }),
            "the provider gives the addresses: leave --ip out",
        ),
        (
            "IpamDriver.RequestAddress",
            json!({ "PoolID": "255.255.255.254" }),
            "adit does not know this network: remove it, and make it again",
        ),
        (
            "IpamDriver.RequestAddress",
            json!({ "PoolID": "p1" }),
            "p1: adit has no such pool of addresses",
        ),
        (
            "NetworkDriver.CreateEndpoint",
            with_mac,
            "a tunnel has no MAC address: leave --mac-address out",
        ),
        (
            "NetworkDriver.CreateEndpoint",
            endpoint("10.9.8.7/32"),
            "no tunnel with the address 10.9.8.7 is reserved: adit attach was started anew meanwhile; start the container \
             again",
        ),
        (
            "NetworkDriver.Join",
            sandbox("/s"),
            "no tunnel is reserved for the endpoint e: adit attach was started anew meanwhile; start the container again",
        ),
    ] {
        let answer = bench.call(method, body).await;
        assert_eq!(refusal(&answer), text);
    }
    assert_eq!(bench.fake.said(), [""; 0]);
    // An interface that cannot be made is no second tunnel later.
    bench.call("IpamDriver.RequestAddress", json!({ "PoolID": pool })).await;
    bench
        .call("NetworkDriver.CreateEndpoint", endpoint("10.9.8.7/32"))
        .await;
    let answer = bench.call("NetworkDriver.Join", sandbox("/broken")).await;
    assert_eq!(refusal(&answer), "no interface");
    let answer = bench.call("NetworkDriver.Join", sandbox("/s")).await;
    assert_eq!(answer["Err"], Value::Null);
}

#[tokio::test]
async fn a_tunnel_without_ipv4_is_no_address_for_docker() {
    let bench = Bench::new(&["fd00::2/128"]);
    let pool = bench.network("n", "swiss").await;
    let answer = bench.call("IpamDriver.RequestAddress", json!({ "PoolID": pool })).await;
    assert!(refusal(&answer).ends_with("leave --ipam-driver out"), "{answer}");
    assert_eq!(bench.fake.said(), ["reserve new swiss", "release new"]);
}

#[tokio::test]
async fn a_tunnel_whose_container_does_not_come_is_given_back() {
    let bench = Bench::new(&["10.9.8.7/32"]);
    let pool = bench.network("n", "swiss").await;
    let reserve = || bench.call("IpamDriver.RequestAddress", json!({ "PoolID": pool }));
    reserve().await;
    bench.driver.give_back_late(Instant::now()).await;
    assert_eq!(bench.fake.said(), ["reserve new swiss"]);
    bench
        .call(
            "IpamDriver.ReleaseAddress",
            json!({ "PoolID": pool, "Address": "10.9.8.7" }),
        )
        .await;
    assert_eq!(bench.fake.said(), ["release new"], "Docker made no endpoint");
    reserve().await;
    bench
        .driver
        .give_back_late(Instant::now() + Duration::from_secs(60))
        .await;
    assert_eq!(
        bench.fake.said(),
        ["reserve new swiss", "release new"],
        "Docker is gone"
    );
}

#[tokio::test]
async fn what_docker_knows_of_before_is_known_again() {
    let bench = Bench::new(&["10.9.8.7/32"]);
    let options = BTreeMap::from([("region".to_owned(), "swiss".to_owned())]);
    let network = Network::new(options, "240.0.0.9".parse().ok());
    bench.driver.restore("n", network).unwrap();
    let answer = bench
        .call("IpamDriver.RequestAddress", json!({ "PoolID": "240.0.0.9" }))
        .await;
    assert_eq!(answer, json!({ "Address": "10.9.8.7/32" }));
    bench.driver.adopt(Endpoint {
        network: "n".to_owned(),
        id: "e".to_owned(),
        holder: "h".to_owned(),
        sandbox: "/s".to_owned(),
    });
    let endpoint = json!({ "NetworkID": "n", "EndpointID": "e" });
    bench.call("NetworkDriver.Leave", endpoint.clone()).await;
    bench.call("NetworkDriver.DeleteEndpoint", endpoint).await;
    assert_eq!(bench.fake.said(), ["reserve new swiss", "leave h /s", "release h"]);
}

/// Sends `request` and gives the answer's first line and body.
async fn exchange(path: &Path, request: &[u8]) -> (String, Value) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    // An answer may come before all is sent; then the rest cannot be.
    let _refused_early = stream.write_all(request).await;
    let mut text = Vec::new();
    let _reset_after_the_answer = stream.read_to_end(&mut text).await;
    let text = String::from_utf8(text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, "null"));
    let first = head.lines().next().unwrap_or_default().to_owned();
    (first, serde_json::from_str(body).unwrap_or_default())
}

#[tokio::test]
async fn calls_come_over_the_socket_and_senseless_ones_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new(&[]);
    let path = bench.folder.path().join("plugins/adit.sock");
    let socket = Socket::bind(&path).unwrap();
    let error = Socket::bind(&path).unwrap_err().to_string();
    assert!(error.contains("another daemon of adit"), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let serve = Arc::clone(&bench.driver).serve(&socket);
    let ask = async {
        let post = |method: &str, headers: &str, body: &str| {
            format!("POST /{method} HTTP/1.1\r\nHost: adit\r\n{headers}\r\n{body}").into_bytes()
        };
        let long = format!("Content-Length: {}\r\n", 17 << 20);
        let many = "X: y\r\n".repeat(1000);
        // (request, status, what the error says)
        for (request, status, text) in [
            (post("Plugin.Activate", "", ""), "200 OK", ""),
            (
                post(
                    "NetworkDriver.EndpointOperInfo",
                    "Transfer-Encoding: chunked\r\n",
                    "2\r\n{}\r\n0\r\n\r\n",
                ),
                "200 OK",
                "",
            ),
            (
                post("NetworkDriver.Join", "Content-Length: 1\r\n", "{"),
                "200 OK",
                "the call makes no sense: EOF while parsing an object at line 1 column 1",
            ),
            (
                post("NetworkDriver.AllocateNetwork", "", ""),
                "404 Not Found",
                "NetworkDriver.AllocateNetwork: adit does not know this call",
            ),
            (
                b"GET /Plugin.Activate HTTP/1.1\r\nHost: adit\r\n\r\n".into(),
                "405 Method Not Allowed",
                "calls come by POST",
            ),
            (
                post("NetworkDriver.Join", &long, ""),
                "413 Payload Too Large",
                "the call is longer than 16 MiB",
            ),
            (
                post("Plugin.Activate", &many, ""),
                "431 Request Header Fields Too Large",
                "",
            ),
            (b"\0\0\0\r\n\r\n".into(), "400 Bad Request", ""),
        ] {
            let (first, answer) = exchange(&path, &request).await;
            assert_eq!(first, format!("HTTP/1.1 {status}"));
            assert_eq!(answer["Err"].as_str().unwrap_or_default(), text);
        }
    };
    tokio::select! {
        () = serve => unreachable!("it serves for ever"),
        () = ask => {}
    }
    drop(socket);
    assert!(!path.exists());
}
