//! Other people than the one with a mouse and a new browser: by keyboard, without keys, without scripts, with an account.

use std::fs;

use netlab::serve::oidc::{Client, Settings, User, oidc};
use netlab::{Host, Lab, wait_until};
use serde_json::json;

use crate::browser::browse;
use crate::needs_a_lab;
use crate::network::Network;
use crate::peer::Peer;
use crate::stage::{Hub, SOON, adit};
use crate::walk::fetches;

/// Where the hub with accounts is.
const ADDRESS: &str = "192.0.2.10";

/// A host on which gateways come up that nobody connects to.
fn alone() -> (Host, Hub) {
    let host = Lab::new().host("gateway");
    let hub = Hub::start(&host, &["--plane", "netstack", "--endpoint", ADDRESS]);
    (host, hub)
}

#[test]
fn a_keyboard_launches_reads_and_ends_and_a_screen_reader_is_told() {
    needs_a_browser!();
    let (host, hub) = alone();
    let said = browse(&host, "keyboard.mjs", &json!({ "link": hub.link }));
    let heard: Vec<&str> = said[0]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|text| text.as_str())
        .collect();
    let mut rest = heard.iter();
    for wanted in [
        "laptop is removed",
        "Launching",
        "Ready",
        "it was ended",
        "nothing of the gateway is left",
    ] {
        assert!(rest.any(|text| text.contains(wanted)), "{wanted}: {heard:?}");
    }
}

#[test]
fn a_browser_without_x25519_takes_a_public_key_and_its_configuration_connects() {
    needs_a_lab!();
    needs_a_browser!();
    let network = Network::new();
    let hub = Hub::start(&network.gateway, &["--plane", "netstack"]);
    let folder = network.client.folder().join("keyless");
    fs::create_dir_all(&folder).unwrap();
    // As the page says it.
    let shell = |words: &str| {
        network
            .client
            .command("sh")
            .args(["-c", words])
            .current_dir(&folder)
            .run()
    };
    let public = shell("wg genkey | tee private.key | wg pubkey").trim().to_owned();
    let [saved, command] = ["phone.conf", "command"].map(|name| folder.join(name));
    let args = json!({ "link": hub.link, "public": public, "saved": saved, "command": command });
    let gateway = network.gateway.clone();
    let browser = std::thread::Builder::new()
        .name(std::thread::current().name().unwrap_or("ways").to_owned())
        .spawn(move || browse(&gateway, "keyless.mjs", &args))
        .expect("start a thread");
    let command = wait_until("the page says how to go on", SOON, || {
        assert!(command.exists() || !browser.is_finished(), "the visit ended before");
        fs::read_to_string(&command)
            .ok()
            .filter(|text| text.ends_with(".conf)"))
    });
    shell(&command);
    let file = folder.join("adit0.conf");
    let peer = Peer::up(&network.client, &file);
    fetches(&network.client);
    browser.join().expect("the visit goes well");
    peer.down();
}

#[test]
fn without_scripts_a_person_has_to_choose_who_makes_the_keys() {
    needs_a_browser!();
    let (host, hub) = alone();
    let public = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    browse(&host, "scriptless.mjs", &json!({ "link": hub.link, "public": public }));
}

#[test]
fn who_has_signed_out_sees_nothing_of_his_any_more() {
    needs_a_browser!();
    netlab::requires!("npm:oidc-provider");
    let host = Lab::new().host("gateway");
    host.add_address("lo", &format!("{ADDRESS}/32"));
    let address = format!("https://{ADDRESS}:8443");
    let user = |sub: &str, name: &str| User {
        sub: sub.to_owned(),
        claims: json!({ "name": name, "email": format!("{sub}@example.org"), "groups": ["vpn"] }),
    };
    let client = Client {
        id: "adit".to_owned(),
        secret: None,
        redirects: vec![format!("{address}/login/callback")],
        signed_out: vec![format!("{address}/login")],
    };
    let users = vec![user("alice", "Alice"), user("bob", "Bob")];
    let provider = oidc(Some(&host), &Settings::new(client, users));

    let certified = rcgen::generate_simple_self_signed([ADDRESS.to_owned()]).unwrap();
    let file = |name: &str, text: String| {
        let file = host.folder().join(name);
        fs::write(&file, text).unwrap();
        file
    };
    let settings = json!({
        "listen": format!("{ADDRESS}:8443"),
        "public_url": address,
        "tls": {
            "certificate": file("certificate.pem", certified.cert.pem()),
            "key": file("key.pem", certified.signing_key.serialize_pem()),
        },
        "oidc": {
            "issuer": provider.issuer(),
            "client_id": "adit",
            "scopes": ["profile", "email", "groups"],
            "role_claim": "groups",
            "user_values": ["vpn"],
        },
        "endpoint": ADDRESS,
        "plane": "netstack",
    });
    let settings = file("hub.json", settings.to_string());
    let mut hub = host
        .command(adit(&host))
        .args(["hub", "--data"])
        .arg(host.folder().join("hub"))
        .arg("--config")
        .arg(settings)
        .spawn();
    hub.wait_for(&address, SOON);
    browse(
        &host,
        "sign_in.mjs",
        &json!({ "address": address, "issuer": provider.issuer() }),
    );
    assert!(hub.terminate(SOON).success(), "{}", hub.log());
}
