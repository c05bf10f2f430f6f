//! What the fake does on order, and what it lets nobody do.

use std::time::Duration;

use netlab::serve::azure::{Azure, Fault, Refusal, Settings};
use netlab::wait_until;
use serde_json::{Value, json};

use crate::client::Client;

const GUARD: &str = "/resourceGroups/adit/providers/Microsoft.Network/networkSecurityGroups/g?api-version=2024-05-01";
const GROUP: &str = "/resourcegroups/adit?api-version=2021-04-01";

fn place() -> Value {
    json!({ "location": "westeurope" })
}

/// A service with a resource group, and a client.
fn start(settings: Settings) -> (Azure, Client) {
    let azure = Azure::start(settings);
    let client = Client::new(&azure, &azure.url());
    client.expect("PUT", GROUP, &place(), 201);
    (azure, client)
}

#[test]
fn faults_come_on_order() {
    netlab::requires!("curl");
    let (azure, mut client) = start(Settings::default());
    let path = GUARD.replace("/g?", "/lost?");
    // (what goes wrong, the status that the client sees, whether the group was made)
    for (fault, status, is_made) in [
        (Fault::LostBefore, 0, false),
        (Fault::LostAfter, 0, true),
        (Fault::CutShort, 201, true),
        (Fault::status(503), 503, false),
        (Fault::throttled(7), 429, false),
        (Fault::Refused(Refusal::locked("it")), 429, false),
        (Fault::Late(Duration::from_millis(50)), 201, true),
        (Fault::OperationForgotten, 201, true),
    ] {
        let name = format!("{fault:?}");
        azure.fail_next("PUT **/networkSecurityGroups/lost", fault);
        assert_eq!(client.send("PUT", &path, &place()).status, status, "{name}");
        let there = azure.left_of("Microsoft.Network/networkSecurityGroups").len();
        assert_eq!(there, usize::from(is_made), "{name}");
        if is_made {
            client.ready(&path);
            client.expect("DELETE", &path, &Value::Null, 202);
            client.gone(&path);
        }
    }
    client.patience = 1;
    azure.fail_next("PUT **/networkSecurityGroups/lost", Fault::Hangs);
    assert_eq!(client.send("PUT", &path, &place()).status, 0);
    assert_eq!(azure.count("PUT **/networkSecurityGroups/*"), 9);
    let throttled = Refusal::throttled(7);
    azure.fail_next("GET **", Fault::Refused(throttled));
    assert_eq!(client.send("GET", GROUP, &Value::Null).header("Retry-After"), "7");
}

#[test]
fn a_deletion_fails_as_often_as_ordered_and_then_works() {
    netlab::requires!("curl");
    let (azure, client) = start(Settings::default());
    client.expect("PUT", GUARD, &place(), 201);
    client.ready(GUARD);
    let failed = Refusal::new(500, "InternalOperationError", "It did not work.");
    azure.fail_times("DELETE **/networkSecurityGroups/*", 9, Fault::OperationFails(failed));
    for _ in 0..9 {
        client.expect("DELETE", GUARD, &Value::Null, 202);
        wait_until("the deletion fails", Duration::from_secs(20), || {
            let found = client.expect("GET", GUARD, &Value::Null, 200);
            (found["properties"]["provisioningState"] == "Failed").then_some(())
        });
    }
    client.expect("DELETE", GUARD, &Value::Null, 202);
    client.gone(GUARD);
}

#[test]
fn an_operation_that_never_ends_holds_what_it_is_at() {
    netlab::requires!("curl");
    let (azure, client) = start(Settings {
        longest: Duration::ZERO,
        ..Settings::default()
    });
    azure.fail_next("PUT **/networkSecurityGroups/*", Fault::NeverEnds);
    let made = client.send("PUT", GUARD, &place());
    let operation = made.header("Azure-AsyncOperation").to_owned();
    for _ in 0..5 {
        assert_eq!(client.ask("GET", &operation, "", &[]).body["status"], "InProgress");
    }
    let again = client.send("PUT", GUARD, &place());
    assert_eq!((again.status, again.code()), (429, "RetryableError"));
    assert_eq!(
        again.body["error"]["details"][0]["code"],
        "RetryableErrorDueToAnotherOperation"
    );
    // Its address is long, and nobody makes it up.
    assert!(operation.len() > 1500, "{operation}");
    let guessed = operation.split('?').next().unwrap_or_default().to_owned() + "?api-version=2024-05-01";
    assert_eq!(client.ask("GET", &guessed, "", &[]).status, 404);
}

#[test]
fn lists_are_late_both_ways() {
    netlab::requires!("curl");
    let (_azure, client) = start(Settings {
        list_lag: 2,
        ..Settings::default()
    });
    let list = "/resourceGroups/adit/providers/Microsoft.Network/networkSecurityGroups?api-version=2024-05-01";
    let count = || {
        client.expect("GET", list, &Value::Null, 200)["value"]
            .as_array()
            .map_or(0, Vec::len)
    };
    client.expect("PUT", GUARD, &place(), 201);
    client.ready(GUARD);
    assert_eq!([count(), count(), count()], [0, 0, 1]);
    client.expect("DELETE", GUARD, &Value::Null, 202);
    client.gone(GUARD);
    assert_eq!([count(), count(), count()], [1, 1, 0]);
}

#[test]
fn nobody_comes_in_without_a_token_a_version_and_a_permission() {
    netlab::requires!("curl");
    let (azure, client) = start(Settings::default());
    let subscription = azure.settings().subscription.clone();
    let url = format!("{}/subscriptions/{subscription}{GROUP}", azure.url());
    let nobody = client.ask("GET", &url, "", &["-H", "Authorization:"]);
    assert_eq!((nobody.status, nobody.code()), (401, "AuthenticationFailed"));
    assert!(
        nobody
            .header("WWW-Authenticate")
            .starts_with("Bearer authorization_uri="),
        "{nobody:?}"
    );
    azure.skew(4000);
    assert_eq!(
        client.send("GET", GROUP, &Value::Null).code(),
        "ExpiredAuthenticationToken"
    );
    azure.skew(0);
    azure.expire_tokens();
    assert_eq!(
        client.send("GET", GROUP, &Value::Null).code(),
        "ExpiredAuthenticationToken"
    );

    let client = Client::new(&azure, &azure.url());
    for (path, code) in [
        ("/resourcegroups/adit", "MissingApiVersionParameter"),
        (
            "/resourcegroups/adit?api-version=2000-01-01",
            "InvalidApiVersionParameter",
        ),
        (
            "/resourcegroups/adit/providers/Microsoft.Network/networkInterfaces/n?api-version=2000-01-01",
            "NoRegisteredProviderFound",
        ),
        (
            "/RESOURCEGROUPS/ADIT/providers/microsoft.network/NETWORKINTERFACES/n?api-version=2024-05-01",
            "ResourceNotFound",
        ),
    ] {
        assert_eq!(client.send("GET", path, &Value::Null).code(), code, "{path}");
    }
    azure.unregister("Microsoft.Network");
    assert_eq!(
        client.send("PUT", GUARD, &place()).code(),
        "MissingSubscriptionRegistration"
    );
    let register = "/providers/Microsoft.Network/register?api-version=2021-04-01";
    assert_eq!(
        client.expect("POST", register, &Value::Null, 200)["registrationState"],
        "Registering"
    );

    // A role that goes as far as one group, and to write there what it may.
    let scope = format!("/subscriptions/{subscription}/resourceGroups/adit");
    azure.permit(
        &scope,
        &[
            "Microsoft.Network/*/read",
            "Microsoft.Network/networkSecurityGroups/write",
        ],
    );
    client.expect("PUT", GUARD, &place(), 201);
    client.ready(GUARD);
    for (method, path) in [
        ("DELETE", GUARD),
        ("GET", GROUP),
        ("PUT", "/resourcegroups/other?api-version=2021-04-01"),
    ] {
        let body = if method == "PUT" { place() } else { Value::Null };
        let said = client.send(method, path, &body);
        assert_eq!(
            (said.status, said.code()),
            (403, "AuthorizationFailed"),
            "{method} {path}"
        );
    }
    let groups = client.expect("GET", "/resourcegroups?api-version=2021-04-01", &Value::Null, 200);
    assert_eq!(groups["value"], json!([]));
}

#[test]
fn tokens_are_given_to_who_proves_itself() {
    netlab::requires!("curl");
    let azure = Azure::start(Settings::default());
    let client = Client::new(&azure, &azure.url());
    let settings = azure.settings();
    let machine = format!(
        "{}/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://management.azure.com/",
        azure.url()
    );
    assert_eq!(client.ask("GET", &machine, "", &[]).status, 400);
    let given = client.ask("GET", &machine, "", &["-H", "Metadata: true"]);
    assert_eq!(given.body["expires_in"], "3599");
    let site = format!("{}/{}/oauth2/v2.0/token", azure.url(), settings.tenant);
    let id = format!("grant_type=client_credentials&client_id={}", settings.client);
    let scope = "scope=https%3A%2F%2Fmanagement.azure.com%2F.default";
    let assertion =
        "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=";
    let right = settings.assertion.clone();
    for (form, status) in [
        (format!("{id}&{scope}&client_secret={}", settings.secret), 200),
        (format!("{id}&{scope}&client_secret=wrong"), 401),
        (format!("{id}&{scope}&{assertion}{right}"), 200),
        (format!("{id}&{scope}&{assertion}wrong"), 401),
        (format!("{id}&scope=all&client_secret={}", settings.secret), 400),
        (format!("{scope}&grant_type=client_credentials&client_id=other"), 400),
    ] {
        let said = client.ask("POST", &site, &form, &[]);
        assert_eq!(said.status, status, "{form}: {said:?}");
        let token = said.body["access_token"].as_str().unwrap_or_default().to_owned();
        if status == 200 {
            let url = format!(
                "{}/subscriptions/{}?api-version=2021-01-01",
                azure.url(),
                settings.subscription
            );
            let header = format!("Authorization: Bearer {token}");
            assert_eq!(
                client
                    .ask("GET", &url, "", &["-H", "Authorization:", "-H", &header])
                    .status,
                200
            );
        }
    }
    // What was sent is remembered as it was.
    assert!(azure.asked().iter().any(|asked| asked.body.contains(&settings.secret)));
}
