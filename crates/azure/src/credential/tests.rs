//! Every way to a token, against small servers and a small `az`.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc, time::Duration};

use serde_json::json;

use super::*;
use crate::{
    Tokens,
    clock::{Clock, SystemClock},
    http::Http,
    tests::{
        Leap, cloud,
        server::{Asked, Play, Server, reply},
        settings,
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn tokens(way: Way, settings: &Settings, server: &Server, clock: Arc<dyn Clock>) -> Tokens {
    let credential = Credential::choose(Choice::Only(way), settings).unwrap();
    Tokens::new(credential, cloud(server), Http::new().unwrap(), clock)
}

/// What the token is, as a server would see it.
fn bearer(token: &Token) -> String {
    token.header().to_str().unwrap().to_owned()
}

/// Gives `t1`, `t2`, … as `grant` says.
async fn giver(grant: serde_json::Value) -> Server {
    let mut given = 0;
    Server::start(move |_| {
        given += 1;
        let mut grant = grant.clone();
        grant["access_token"] = format!("t{given}").into();
        reply(200).json(grant).into()
    })
    .await
}

#[test]
fn the_way_is_chosen_by_what_is_set() {
    let of = |names: &[&str]| {
        let value = |name: &str| {
            if name == "IDENTITY_ENDPOINT" {
                "http://127.0.0.1:1/token"
            } else {
                "x"
            }
        };
        let found = |name: &str| names.contains(&name).then(|| value(name).to_owned());
        Settings::read(found)
    };
    let id = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID"];
    let with = |more: &[&'static str]| of(&[&id, more].concat());
    // (settings, ways in their order)
    for (settings, ways) in [
        (of(&[]), vec!["Managed", "Az"]),
        (of(&["AZURE_CLIENT_SECRET"]), vec!["Managed", "Az"]),
        (with(&[]), vec!["Managed", "Az"]),
        (with(&["AZURE_CLIENT_SECRET"]), vec!["Secret"]),
        (with(&["AZURE_CLIENT_SECRET_FILE"]), vec!["SecretFile"]),
        (with(&["AZURE_FEDERATED_TOKEN_FILE"]), vec!["FederatedFile"]),
        (
            with(&["AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"]),
            vec!["Secret"],
        ),
        (of(&["IDENTITY_ENDPOINT", "IDENTITY_HEADER"]), vec!["AppService"]),
        (
            with(&["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_FEDERATED_TOKEN_FILE"]),
            vec!["FederatedFile"],
        ),
    ] {
        let credential = Credential::choose(Choice::Auto, &settings).unwrap();
        let found: Vec<String> = credential.sources.iter().map(|source| format!("{source:?}")).collect();
        assert_eq!(found.len(), ways.len(), "{found:?}");
        for (source, way) in found.iter().zip(&ways) {
            assert!(source.contains(way), "{source} is not {way}");
        }
    }
    // (way, settings, what the error says)
    for (way, settings, says) in [
        (
            "client-secret",
            of(&[]),
            "client-secret: AZURE_CLIENT_SECRET, AZURE_CLIENT_ID, AZURE_TENANT_ID are not set",
        ),
        (
            "client-secret",
            with(&[]),
            "client-secret: AZURE_CLIENT_SECRET is not set",
        ),
        (
            "workload-identity",
            with(&[]),
            "workload-identity: AZURE_FEDERATED_TOKEN_FILE is not set",
        ),
        (
            "managed-identity",
            of(&["IDENTITY_ENDPOINT"]),
            "managed-identity: IDENTITY_HEADER is not set, as IDENTITY_ENDPOINT is",
        ),
    ] {
        let error = Credential::choose(way.parse().unwrap(), &settings).unwrap_err();
        assert_eq!(error.to_string(), says);
        assert_eq!(error.kind(), Kind::Denied);
    }
    assert!("password".parse::<Choice>().is_err());
    // An identity's endpoint elsewhere would be given its secret in the clear.
    let mut settings = of(&["IDENTITY_HEADER"]);
    settings.identity_endpoint = Some("http://example.org/token".to_owned());
    assert!(Credential::choose(Choice::Auto, &settings).is_err());
}

#[tokio::test]
async fn an_application_shows_its_secret_to_the_authority() {
    let server = giver(json!({"expires_in": 3599, "token_type": "Bearer"})).await;
    let tokens = tokens(Way::ClientSecret, &settings(), &server, Leap::new());
    assert_eq!(bearer(&tokens.token(Audience::Arm).await.unwrap()), "Bearer t1");
    assert_eq!(
        bearer(&tokens.token(Audience::Arm).await.unwrap()),
        "Bearer t1",
        "it is kept"
    );
    assert_eq!(
        bearer(&tokens.token(Audience::Monitor).await.unwrap()),
        "Bearer t2",
        "for each audience"
    );
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].line(), "POST /tenant/oauth2/v2.0/token");
    assert_eq!(
        asked[0].header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
    let form = "grant_type=client_credentials&client_id=client&scope=https%3A%2F%2Fmanagement.azure.com%2F.default&client_secret=s3cret";
    assert_eq!(asked[0].body, form);
    assert!(
        asked[1]
            .body
            .contains("scope=https%3A%2F%2Fmonitoring.azure.com%2F%2F.default")
    );
    assert!(!format!("{tokens:?}").contains("s3cret"));
    assert!(!format!("{:?} {:?}", settings(), tokens.token(Audience::Arm).await).contains("t1"));
}

#[tokio::test]
async fn a_federated_token_is_read_again_for_every_exchange() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let settings = Settings {
        secret: None,
        federated_token_file: Some(path.clone()),
        ..settings()
    };
    let server = giver(json!({"expires_in": 3600})).await;
    let clock = Leap::new();
    let shared: Arc<dyn Clock> = Arc::<Leap>::clone(&clock);
    let tokens = tokens(Way::WorkloadIdentity, &settings, &server, shared);
    let error = tokens.token(Audience::Arm).await.unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
    for (written, sent) in [("first\n", "first"), ("second", "second")] {
        fs::write(&path, written).unwrap();
        tokens.token(Audience::Arm).await.unwrap();
        let asked = server.asked();
        let form = &asked.last().unwrap().body;
        assert!(form.ends_with(&format!("&client_assertion={sent}")), "{form}");
        assert!(
            form.contains("client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer")
        );
        clock.leap(3600 * SECOND);
    }
    fs::write(&path, " \n").unwrap();
    assert!(
        tokens
            .token(Audience::Arm)
            .await
            .unwrap_err()
            .to_string()
            .contains("one line of text")
    );
}

#[tokio::test]
async fn a_machine_s_identity_comes_from_its_metadata_service_once_that_is_ready() {
    let mut asked = 0;
    let server = Server::start(move |_| {
        asked += 1;
        match asked {
            1 => reply(404).text("").into(),
            2 => reply(410).text("").into(),
            3 => reply(429).header("retry-after", "5").into(),
            4 => reply(500).into(),
            _ => reply(200)
                .json(json!({"access_token": "t", "expires_in": "86399", "expires_on": "1", "refresh_in": "43199"}))
                .into(),
        }
    })
    .await;
    let settings = Settings {
        metadata_host: Some(server.address.clone()),
        client: Some("of a user".to_owned()),
        ..Settings::default()
    };
    let clock = Leap::new();
    let shared: Arc<dyn Clock> = Arc::<Leap>::clone(&clock);
    let tokens = tokens(Way::ManagedIdentity, &settings, &server, shared);
    assert_eq!(bearer(&tokens.token(Audience::Storage).await.unwrap()), "Bearer t");
    let asked = server.asked();
    assert_eq!(asked.len(), 5);
    let target = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com&client_id=of%20a%20user";
    assert_eq!(
        (asked[4].target.as_str(), asked[4].header("metadata")),
        (target, Some("true"))
    );
    // It names when it wants to be asked again: not before, and then.
    clock.leap(43_190 * SECOND);
    tokens.token(Audience::Storage).await.unwrap();
    assert_eq!(server.asked().len(), 5);
    clock.leap(20 * SECOND);
    tokens.token(Audience::Storage).await.unwrap();
    assert_eq!(server.asked().len(), 6);
}

#[tokio::test]
async fn an_app_s_identity_comes_from_its_own_endpoint() {
    let end = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 3600;
    let server = giver(json!({"expires_on": end.to_string()})).await;
    let settings = Settings {
        identity_endpoint: Some(format!("{}/msi/token?x=1", server.address)),
        identity_header: Some("h3ader".to_owned().into()),
        ..Settings::default()
    };
    let clock = Leap::new();
    let shared: Arc<dyn Clock> = Arc::<Leap>::clone(&clock);
    let tokens = tokens(Way::ManagedIdentity, &settings, &server, shared);
    tokens.token(Audience::Arm).await.unwrap();
    let asked = &server.asked()[0];
    assert!(
        asked
            .target
            .starts_with("/msi/token?api-version=2019-08-01&resource=http"),
        "{}",
        asked.target
    );
    assert_eq!(asked.header("x-identity-header"), Some("h3ader"));
    clock.leap(3200 * SECOND);
    assert_eq!(bearer(&tokens.token(Audience::Arm).await.unwrap()), "Bearer t1");
    clock.leap(150 * SECOND);
    assert_eq!(
        bearer(&tokens.token(Audience::Arm).await.unwrap()),
        "Bearer t2",
        "five minutes before its end"
    );
}

#[tokio::test]
async fn a_refusal_says_what_would_mend_it() {
    // (answer, what the error says, kind)
    for (answer, says, kind) in [
        (
            reply(401).json(json!({"error": "invalid_client", "error_description": "AADSTS7000222: The provided client secret keys for app 'x' are expired."})),
            "az ad app credential reset",
            Kind::Denied,
        ),
        (reply(400).json(json!({"error": "invalid_request", "error_description": "AADSTS90002: Tenant 'x' not found."})), "AZURE_TENANT_ID", Kind::Denied),
        (reply(400).json(json!({"error": "invalid_request", "error_description": "Identity not found"})), "give the machine an identity", Kind::Denied),
        (reply(200).json(json!({"token": "x"})), "cannot be read", Kind::Denied),
        (reply(200).json(json!({"access_token": "a b"})), "letters that no token has", Kind::Denied),
        (reply(503).text("<title>down</title>"), "no token at the moment", Kind::Transient),
    ] {
        let server = Server::start(move |_| answer.clone().into()).await;
        let error = tokens(Way::ClientSecret, &settings(), &server, Leap::new()).token(Audience::Arm).await.unwrap_err();
        assert!(error.to_string().contains(says) && error.to_string().starts_with("client-secret: "), "{error}");
        assert_eq!(error.kind(), kind, "{error}");
    }
}

/// An `az` that does this.
fn az(folder: &tempfile::TempDir, script: &str) -> Settings {
    let path = folder.path().join("az");
    let beside = folder.path().join("az.new");
    fs::write(&beside, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&beside, &path).unwrap();
    Settings {
        az: Some(path),
        subscription: Some("sub scription; x".to_owned()),
        ..Settings::default()
    }
}

#[tokio::test]
async fn the_token_of_whoever_is_signed_in_is_az_s() {
    let server = giver(json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let end = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 3600;
    // (script, token, or what the error says)
    for (script, expected) in [
        (
            format!(
                r#"printf '%s\n' "$@" > {}; echo '{{"accessToken": "t1", "expiresOn": "2026-11-28 01:00:00.000000", "expires_on": {end}}}'"#,
                log.display()
            ),
            Ok("Bearer t1"),
        ),
        (
            r#"echo '{"accessToken": "t2", "expiresOn": "2026-11-28 01:00:00.000000"}'"#.to_owned(),
            Ok("Bearer t2"),
        ),
        (
            "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1".to_owned(),
            Err("az: Please run 'az login' to setup account: sign in: az login"),
        ),
        ("exit 1".to_owned(), Err("az: it gave no token: sign in: az login")),
        (
            "echo none".to_owned(),
            Err("az: what came in place of a token cannot be read: it is no JSON with a token in it"),
        ),
    ] {
        let settings = az(&folder, &script);
        let given = tokens(Way::Az, &settings, &server, Arc::new(SystemClock))
            .token(Audience::Arm)
            .await;
        assert_eq!(
            given.map(|token| bearer(&token)).map_err(|error| error.to_string()),
            expected.map(str::to_owned).map_err(str::to_owned)
        );
    }
    let arguments = fs::read_to_string(log).unwrap();
    let expected = [
        "account",
        "get-access-token",
        "--output",
        "json",
        "--resource",
        "https://management.azure.com",
        "--subscription",
        "sub scription; x",
    ];
    assert_eq!(arguments.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn an_az_that_does_not_answer_is_ended() {
    let server = giver(json!({})).await;
    let folder = tempfile::tempdir().unwrap();
    let settings = az(&folder, "exec sleep 1000");
    let error = tokens(Way::Az, &settings, &server, Leap::new())
        .token(Audience::Arm)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "az: az gave no token within 30 seconds");
    assert_eq!(error.kind(), Kind::Transient);
}

#[tokio::test]
async fn an_error_tells_every_way_that_was_tried() {
    let server = Server::start(|_| reply(403).into()).await;
    let settings = Settings {
        metadata_host: Some(server.address.clone()),
        az: Some("/nowhere/az".into()),
        tenant: Some("tenant".to_owned()),
        ..Settings::default()
    };
    let credential = Credential::choose(Choice::Auto, &settings).unwrap();
    let tokens = Tokens::new(credential, cloud(&server), Http::new().unwrap(), Leap::new());
    let error = tokens.token(Audience::Arm).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no credential for Azure: client-secret: AZURE_CLIENT_SECRET, AZURE_CLIENT_ID are not set; \
         workload-identity: AZURE_FEDERATED_TOKEN_FILE, AZURE_CLIENT_ID are not set; \
         managed-identity: 127.0.0.1 is no metadata service of Azure: it answers 403; az: the Azure CLI is not installed"
    );
}

#[tokio::test]
async fn the_way_that_was_found_is_kept() {
    let answer = |asked: &Asked| match asked.header("metadata") {
        None => Play::from(reply(400)),
        Some(_) => reply(200).json(json!({"access_token": "t", "expires_in": 3600})).into(),
    };
    let server = Server::start(answer).await;
    let settings = Settings {
        metadata_host: Some(server.address.clone()),
        az: Some("/nowhere/az".into()),
        ..Settings::default()
    };
    let credential = Credential::choose(Choice::Auto, &settings).unwrap();
    let found = Arc::clone(&credential.found);
    let tokens = Tokens::new(credential, cloud(&server), Http::new().unwrap(), Leap::new());
    tokens.token(Audience::Arm).await.unwrap();
    tokens.token(Audience::Storage).await.unwrap();
    assert_eq!(found.get(), Some(&0));
}

#[tokio::test]
async fn all_who_wait_share_one_renewal() {
    let server = giver(json!({"expires_in": 3600})).await;
    let tokens = Arc::new(tokens(Way::ClientSecret, &settings(), &server, Leap::new()));
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let tokens = Arc::clone(&tokens);
            tokio::spawn(async move { bearer(&tokens.token(Audience::Arm).await.unwrap()) })
        })
        .collect();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), "Bearer t1");
    }
    assert_eq!(server.asked().len(), 1);
    // Two whose token was refused renew it once.
    let token = tokens.token(Audience::Arm).await.unwrap();
    let (first, second) = tokio::join!(
        tokens.instead_of(&token, Audience::Arm),
        tokens.instead_of(&token, Audience::Arm)
    );
    assert_eq!(
        (bearer(&first.unwrap()), bearer(&second.unwrap())),
        ("Bearer t2".to_owned(), "Bearer t2".to_owned())
    );
}

#[tokio::test]
async fn a_token_is_used_while_no_other_is_given_and_never_after_its_end() {
    let mut given = 0;
    let server = Server::start(move |_| {
        given += 1;
        if given == 1 {
            reply(200)
                .json(json!({"access_token": "t1", "expires_in": 3600}))
                .into()
        } else {
            reply(400).error("invalid_client").into()
        }
    })
    .await;
    let clock = Leap::new();
    let shared: Arc<dyn Clock> = Arc::<Leap>::clone(&clock);
    let tokens = tokens(Way::ClientSecret, &settings(), &server, shared);
    // (leap in seconds, is there a token?, questions so far)
    for (leap, is_there, questions) in [
        (0, true, 1),
        (3200, true, 1),
        (110, true, 2),
        (10, true, 2),
        (25, true, 3),
        (240, true, 4),
        (6, false, 5),
        (0, false, 6),
    ] {
        clock.leap(leap * SECOND);
        assert_eq!(tokens.token(Audience::Arm).await.is_ok(), is_there, "{leap}");
        assert_eq!(server.asked().len(), questions, "{leap}");
    }
}
