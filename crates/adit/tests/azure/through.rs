//! The places at Azure through a hub: its API and its pages, as seed 000's front end had them of its own.

use std::fs;

use netlab::Process;
use serde_json::{Value, json};

use crate::cloud::{IMAGE, Kind, Lit, quick};
use crate::hub::Hub;
use crate::lanes;
use crate::needs_machines;

/// A client's public key.
const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

/// A hub with both places, whose configuration is a file.
fn hub(lit: &Lit) -> Hub {
    hub_with(lit, &[]).unwrap_or_else(|process| panic!("the hub does not come up:\n{}", process.log()))
}

/// The same with more variables; what is left of its process if it does not come up.
pub(crate) fn hub_with(lit: &Lit, variables: &[(&str, &str)]) -> Result<Hub, Process> {
    let settings = lit.azure.settings();
    let url = lit.azure.url();
    let places = Kind::BOTH.map(|kind| {
        json!({ "kind": kind.name(), "subscription": settings.subscription, "region": "westeurope", "image": IMAGE,
            "management_url": url })
    });
    let file = lit.hub.folder().join("hub.yml");
    fs::write(&file, json!({ "places": places }).to_string()).expect("write a configuration");
    let account = [
        ("AZURE_TENANT_ID", settings.tenant.as_str()),
        ("AZURE_CLIENT_ID", &settings.client),
        ("AZURE_CLIENT_SECRET", &settings.secret),
        ("AZURE_AUTHORITY_HOST", &url),
    ];
    let arguments = ["--config", file.to_str().expect("a path of letters")];
    Hub::start_with(&[&account, variables].concat(), &lit.hub, "data", &arguments)
}

/// A lease of one client.
pub(crate) fn request(kind: Kind) -> Value {
    json!({ "place": kind.name(), "lifetime_secs": 600, "peers": [{ "name": "phone", "public_key": KEY }] })
}

/// Asks for a lease, and gives its ID.
fn ask(hub: &Hub, kind: Kind) -> String {
    let (status, lease) = hub.ask("POST", "leases", Some(&request(kind)));
    assert_eq!(status, 202, "{lease}");
    lease["id"].as_str().expect("a lease has an id").to_owned()
}

/// A page as a browser without scripts gets it, signed in.
fn page(lit: &Lit, hub: &Hub, path: &str) -> String {
    let jar = lit.hub.folder().join("cookies");
    let curl = |url: &str| {
        let curl = lit
            .hub
            .command("curl")
            .args(["--silent", "--show-error", "--location", "--cookie-jar"]);
        curl.arg(&jar).arg("--cookie").arg(&jar).arg(url).run()
    };
    curl(&hub.link);
    curl(&format!("{}{path}", hub.address()))
}

/// From the request to the removal over HTTP, and what went wrong at Azure as the API tells it.
#[test]
fn api_endpoint_integration() {
    needs_machines!();
    lanes::each(Kind::BOTH, |kind| {
        let lit = Lit::new(quick());
        let hub = hub(&lit);
        let (status, places) = hub.ask("GET", "places", None);
        assert_eq!(status, 200, "{places}");
        assert!(places.to_string().contains(kind.name()), "{places}");
        let id = ask(&hub, kind);
        let ready = hub.wait_for_state(&id, "ready");
        let endpoint = ready["gateway"]["endpoint"].as_str().unwrap_or_default();
        assert!(endpoint.starts_with("203.0.113.1:"), "{ready}");
        assert_eq!(ready["peers"][0]["public_key"], KEY);
        assert!(ready["fault"].is_null() && ready["is_sample"] == false, "{ready}");
        let (status, answer) = hub.ask("DELETE", &format!("leases/{id}"), None);
        assert_eq!(status, 202, "{answer}");
        hub.wait_for_state(&id, "removed");
        assert_eq!((lit.left(), lit.light.count()), (Vec::new(), 0), "{kind:?}");

        lit.azure.set_quota("cores", 0);
        lit.azure.set_quota("StandardCores", 0);
        let id = ask(&hub, kind);
        let removed = hub.wait_for_state(&id, "removed");
        let code = match kind {
            Kind::Vm => "OperationNotAllowed",
            Kind::Container => "ContainerGroupQuotaReached",
        };
        assert_eq!(removed["fault"]["code"], code, "{removed}");
        let text = |name: &str| removed["fault"][name].as_str().unwrap_or_default().to_lowercase();
        assert!(text("message").contains("quota"), "{removed}");
        assert!(text("remedy").contains("ask for more"), "{removed}");

        // What cannot be asked for is a problem (RFC 9457), with the field that is wrong.
        let mut wrong = request(kind);
        wrong["region"] = "moon".into();
        let (status, problem) = hub.ask("POST", "leases", Some(&wrong));
        assert_eq!((status, &problem["field"]), (422, &json!("region")), "{problem}");
        assert!(!hub.process.log().contains(&lit.azure.settings().secret));
    });
}

/// The pages offer both places, follow a lease, and say what Azure said and what to do.
#[test]
fn frontend_compatibility() {
    needs_machines!();
    let lit = Lit::new(quick());
    let hub = hub(&lit);
    let start = page(&lit, &hub, "/");
    for kind in Kind::BOTH {
        assert!(start.contains(kind.name()), "{start}");
    }
    let id = ask(&hub, Kind::Container);
    hub.wait_for_state(&id, "ready");
    let shown = page(&lit, &hub, &format!("/leases/{id}"));
    assert!(shown.contains("203.0.113.1") && shown.contains("phone"), "{shown}");
    lit.azure.set_quota("cores", 0);
    let failed = ask(&hub, Kind::Vm);
    hub.wait_for_state(&failed, "removed");
    let shown = page(&lit, &hub, &format!("/leases/{failed}"));
    for words in ["exceeding approved", "ask for more"] {
        assert!(shown.contains(words), "{words} is not in {shown}");
    }
    let (_, answer) = hub.ask("DELETE", &format!("leases/{id}"), None);
    assert_eq!(answer["id"], json!(id), "{answer}");
    hub.wait_for_state(&id, "removed");
    assert_eq!(lit.left(), [""; 0]);
}
