//! What the service answers.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64, Encoding as _};
use serde_json::{Value, json};

use super::super::query::pairs;
use super::connection::{Request, value};
use super::{HOST, NewKey, PASSWORD, Shared, State, USER};

type Answer = (u16, String);

pub(super) fn answer(shared: &Shared, request: &Request) -> Answer {
    {
        let mut state = shared.lock();
        *state.asked.entry(request.path.clone()).or_default() += 1;
        let queue = state.next.get_mut(&request.path);
        if let Some(answer) = queue.and_then(std::collections::VecDeque::pop_front) {
            return answer;
        }
    }
    // Servers answer under their own names only, and the API under its.
    let is_api = request.server == HOST;
    match (&*request.method, &*request.path, is_api) {
        ("POST", "/api/token", true) => log_in(&mut shared.lock(), request),
        ("POST", "/api/dedicated_ip", true) => dedicated(&shared.lock(), request),
        ("GET", "/servers", true) => (200, list(shared)),
        ("GET", "/ca.crt", true) => (200, shared.certificates.authority_pem()),
        ("GET", "/addKey", false) => add_key(shared, request),
        ("GET", "/getSignature", false) => signature(&mut shared.lock(), request),
        ("GET", "/bindPort", false) => bind(&mut shared.lock(), request),
        _ => (404, "there is no such thing".to_owned()),
    }
}

fn error(status: u16, message: &str) -> Answer {
    (status, json!({ "status": "ERROR", "message": message }).to_string())
}

fn log_in(state: &mut State, request: &Request) -> Answer {
    let form = pairs(&request.body);
    let is_form = request.content_type == "application/x-www-form-urlencoded";
    if !is_form || value(&form, "username") != USER || value(&form, "password") != PASSWORD {
        return (401, json!({ "message": "authentication failed" }).to_string());
    }
    state.logins += 1;
    // `/` and `=`: a token must be encoded in a query.
    let token = format!("token/{}==", state.logins);
    state.tokens.insert(token.clone());
    (200, json!({ "token": token }).to_string())
}

fn dedicated(state: &State, request: &Request) -> Answer {
    let token = request.authorization.strip_prefix("Token ").unwrap_or_default();
    if !state.tokens.contains(token) || request.content_type != "application/json" {
        return (401, "HTTP Token: Access denied.\n".to_owned());
    }
    let asked: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let found = state.dedicated.iter().filter(|sold| asked["tokens"][0] == *sold.token);
    let found: Vec<_> = found
        .map(|sold| json!({ "status": "active", "ip": sold.ip, "cn": sold.cn, "id": sold.region, "dip_expire": 4_000_000_000_u64 }))
        .collect();
    (200, Value::from(found).to_string())
}

fn list(shared: &Shared) -> String {
    let state = shared.lock();
    let mut regions: Vec<Value> = Vec::new();
    for server in &state.servers {
        let entry = json!({ "ip": server.ip, "cn": server.cn });
        if let Some(region) = regions.iter_mut().find(|region| region["id"] == server.region) {
            region["servers"]["wg"]
                .as_array_mut()
                .expect("it is an array")
                .push(entry);
            continue;
        }
        regions.push(json!({
            "id": server.region, "name": format!("The {}", server.region), "country": "CH", "auto_region": true,
            "dns": "x.test", "port_forward": server.forwards, "geo": false, "offline": server.offline,
            "servers": { "wg": [entry], "awg": [{ "ip": server.ip, "cn": server.cn, "port": 1338 }], "meta": [] },
        }));
    }
    let port = shared.port.get();
    let groups = json!({ "wg": [{ "name": "wireguard", "ports": [port] }], "ikev2": [{ "ports": [500, 4500] }] });
    let json = json!({ "groups": groups, "regions": regions }).to_string();
    let signature = shared.rsa.sign(json.as_bytes());
    let json = if state.is_tampered {
        json.replacen("CH", "XX", 1)
    } else {
        json
    };
    let (one, two) = signature.split_at(76);
    format!("{json}\n\n{one}\n{two}\n")
}

/// The server that the request is for.
fn server(state: &State, request: &Request) -> Option<(String, IpAddr, IpAddr)> {
    let is_it = |cn: &str| {
        state
            .renamed
            .get(cn)
            .map_or(cn, |truly| truly)
            .eq_ignore_ascii_case(&request.server)
    };
    let found = state.all().find(|server| is_it(&server.cn))?;
    Some((found.cn.clone(), found.ip, found.vip))
}

fn add_key(shared: &Shared, request: &Request) -> Answer {
    let mut state = shared.lock();
    let Some((cn, ip, vip)) = server(&state, request) else {
        return error(404, "no such server");
    };
    let sold = state.dedicated.iter().find(|sold| sold.cn == cn);
    let basic = sold.map(|sold| format!("dedicated_ip_{}:{}", sold.token, sold.ip));
    let is_let_in = match basic {
        Some(login) => request.authorization == format!("Basic {}", Base64::encode_string(login.as_bytes())),
        None => state.tokens.contains(request.value("pt")),
    };
    if !is_let_in {
        return error(200, "Login failed!");
    }
    state.addresses += 1;
    let [high, low] = state.addresses.to_be_bytes();
    let address = IpAddr::from([10, 2, high, low]);
    let key = request.value("pubkey").to_owned();
    state.keys.insert(cn.clone(), key.clone());
    drop(state);
    let new = NewKey { cn, key, address };
    let (server_key, port) = (shared.on_key)(&new);
    let answer = json!({
        "status": "OK", "server_key": server_key, "server_port": port, "server_ip": ip, "server_vip": vip,
        "peer_ip": address, "peer_pubkey": new.key, "dns_servers": ["10.0.0.243", "10.0.0.242"],
    });
    (200, answer.to_string())
}

fn signature(state: &mut State, request: &Request) -> Answer {
    let token = request.value("token");
    if !state.tokens.contains(token) {
        return error(401, "Login failed!");
    }
    state.ports += 1;
    let end = SystemTime::now() + state.port_life;
    let payload = json!({ "token": token, "port": 40_000 + state.ports, "expires_at": rfc3339(end) });
    let payload = Base64::encode_string(payload.to_string().as_bytes());
    // The signature is the payload's length: enough to see that it came whole.
    let answer = json!({ "status": "OK", "payload": payload, "signature": format!("+/{}=", payload.len()) });
    (200, answer.to_string())
}

fn bind(state: &mut State, request: &Request) -> Answer {
    let (payload, signature) = (request.value("payload"), request.value("signature"));
    let decoded = Base64::decode_vec(payload).unwrap_or_default();
    let decoded: Value = serde_json::from_slice(&decoded).unwrap_or_default();
    let port = decoded["port"].as_u64();
    match (port, server(state, request)) {
        (Some(port), Some((cn, _, _))) if signature == format!("+/{}=", payload.len()) => {
            state.bound.push(format!("{cn} {port}"));
            (
                200,
                json!({ "status": "OK", "message": "port scheduled for add" }).to_string(),
            )
        }
        _ => error(401, "signature is wrong"),
    }
}

/// A time in UTC, of RFC 3339. The date from the days since 1970: years of 365 or 366 days, months likewise.
fn rfc3339(time: SystemTime) -> String {
    let secs = time.duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
    let (mut days, rest) = (secs / 86_400, secs % 86_400);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let months = [
        31,
        28 + u64::from(is_leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 1;
    for length in months {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!(
        "{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.123456789Z",
        days + 1
    )
}
