//! What the place is told, and what of it is shown.

use super::*;

const STATE_KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";

fn hidden(text: &str) -> Secret {
    Secret::new(text.to_owned().into())
}

fn full(config: Config, persistence: Persistence) -> Config {
    Config {
        registry: Some(Registry {
            server: "example.azurecr.io".to_owned(),
            user: "puller".to_owned(),
            password: hidden("registry-s3cret"),
        }),
        logs: Some(LogAnalytics {
            workspace_id: "workspace".to_owned(),
            workspace_key: hidden("workspace-s3cret"),
        }),
        persistence: Some(persistence),
        restart: Restart::Never,
        ..config
    }
}

fn files() -> Persistence {
    Persistence::Files {
        account: "keeper".to_owned(),
        share: "gateways".to_owned(),
        key: hidden("account-s3cret"),
        state_key: hidden(STATE_KEY),
    }
}

fn blob(access: BlobAccess) -> Persistence {
    Persistence::Blob {
        container_url: "https://keeper.blob.core.windows.net/gateways".to_owned(),
        access,
        state_key: hidden(STATE_KEY),
    }
}

const IDENTITY: &str = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/adit/providers/\
    Microsoft.ManagedIdentity/userAssignedIdentities/gateways";

#[tokio::test]
async fn secrets_reach_azure_as_such_and_are_shown_to_nobody() {
    let (azure, stage) = azure(Settings::default()).await;
    let connection = || BlobAccess::ConnectionString(hidden("AccountKey=connection-s3cret"));
    let identity = |id: Option<&str>| BlobAccess::Identity {
        resource_id: id.map(str::to_owned),
    };
    // (where keys are kept, the argument for it, its variables, its identity)
    for (persistence, state, variables, kind) in [
        (files(), "/config", &["ADIT_STATE_KEY"][..], Value::Null),
        (
            blob(connection()),
            "blob:https://keeper.blob.core.windows.net/gateways",
            &["ADIT_STATE_KEY", "AZURE_STORAGE_CONNECTION_STRING"],
            Value::Null,
        ),
        (
            blob(identity(None)),
            "blob:https://keeper.blob.core.windows.net/gateways",
            &["ADIT_STATE_KEY"],
            json!("SystemAssigned"),
        ),
        (
            blob(identity(Some(IDENTITY))),
            "blob:https://keeper.blob.core.windows.net/gateways",
            &["ADIT_STATE_KEY"],
            json!("UserAssigned"),
        ),
    ] {
        let config = full(config(&azure), persistence);
        let refs = make(&azure, &config).await.unwrap();
        let made = place(&azure, config.clone());
        let group = azure.wanted(&groups(&azure)[0]).unwrap();
        assert_eq!(group["identity"]["type"], kind);
        assert_eq!(group["properties"]["restartPolicy"], "Never");
        let container = stage.play().groups.last().unwrap().containers[0].clone();
        let at = container.command.iter().position(|word| word == "--state").unwrap();
        assert_eq!(container.command[at + 1], state);
        let named: Vec<_> = container
            .environment
            .iter()
            .map(|variable| variable.name.as_str())
            .collect();
        assert_eq!(named, variables);
        assert!(container.environment.iter().all(|variable| variable.is_secret));
        let cloud = Cloud::default();
        let plan: String = made
            .plan(&job())
            .iter()
            .map(|request| request.plan(&cloud).to_string())
            .collect();
        let shown = format!(
            "{plan} {refs} {made:?} {:?} {}",
            made.plan(&job()),
            container.command.join(" ")
        );
        for secret in ["s3cret", STATE_KEY] {
            assert!(group.to_string().contains(secret) && !shown.contains(secret), "{shown}");
        }
        remove(&azure, &config, &refs).await;
    }
}

#[tokio::test]
async fn a_plan_is_what_a_life_sends_and_sends_nothing() {
    let (azure, _stage) = azure(Settings::default()).await;
    let place = place(&azure, config(&azure));
    let before = azure.asked().len();
    let words: Vec<_> = place
        .plan(&job())
        .iter()
        .map(|request| {
            let path = request.path.as_str();
            let last = path
                .rsplit('/')
                .next()
                .unwrap()
                .replace(&job().id.resource_name(), "NAME");
            format!("{} {last}", request.method.as_str())
        })
        .collect();
    assert_eq!(
        words,
        [
            "GET NAME",
            "PUT NAME",
            "GET NAME",
            "GET logs",
            "GET NAME",
            "DELETE NAME"
        ]
    );
    assert_eq!(azure.asked().len(), before);
}

/// A change of what the place is told, and a part of what is said of it if it is refused.
type Case<'a> = (&'a dyn Fn(&mut Config), Option<&'a str>);

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let site = Site::new(
        "0b1f6471-1bf0-4dda-aec3-cb9272f09590",
        "adit",
        vec!["westeurope".to_owned()],
    );
    let config = Config::new(site.unwrap(), "ghcr.io/adit-vpn/adit:1@sha256:ab");
    let with = |change: &dyn Fn(&mut Config)| {
        let mut config = config.clone();
        change(&mut config);
        config.check().map_err(|error| error.to_string()).err()
    };
    assert_eq!(with(&|_| {}), None);
    for (first, last) in RESERVED {
        for port in [first, last] {
            let said = with(&|config| config.port = port).unwrap();
            assert!(
                said.contains(&format!("keep {first} to {last} for themselves")),
                "{said}"
            );
        }
    }
    let state = |persistence: Persistence| move |config: &mut Config| config.persistence = Some(persistence.clone());
    let other_key = |text: &str| Persistence::Files {
        account: "a".to_owned(),
        share: "s".to_owned(),
        key: hidden("k"),
        state_key: hidden(text),
    };
    let at = |url: &str| Persistence::Blob {
        container_url: url.to_owned(),
        access: BlobAccess::Identity { resource_id: None },
        state_key: hidden(STATE_KEY),
    };
    let by = |id: &str| {
        blob(BlobAccess::Identity {
            resource_id: Some(id.to_owned()),
        })
    };
    let cases: [Case<'_>; 18] = [
        (&|config| config.port = 51_819, Some("keep 49152 to 65534")),
        (&|config| config.port = 0, Some("the port 0")),
        (&|config| config.port = 65_535, None),
        (&|config| config.image = String::new(), Some("no image")),
        (&|config| config.image = "a b".to_owned(), Some("no image")),
        (&|config| config.cpu = 0.0, Some("cannot be had")),
        (&|config| config.memory_gb = f64::NAN, Some("cannot be had")),
        (&|config| config.memory_gb = 0.55, Some("in tenths")),
        (
            &|config| config.sizes = vec!["1x1".to_owned(), "2x4.5".to_owned()],
            None,
        ),
        (
            &|config| config.sizes = vec!["1x1".to_owned(), "1x1".to_owned()],
            Some("no size of its own"),
        ),
        (
            &|config| config.sizes = vec!["big".to_owned()],
            Some("`big` is no size"),
        ),
        (&|config| config.sizes = vec!["64x1".to_owned()], Some("cannot be had")),
        (&state(other_key("c2hvcnQ=")), Some("adit genpsk")),
        (
            &state(at("https://keeper.blob.core.windows.net")),
            Some("no container of blobs"),
        ),
        (
            &state(at("https://k.blob.core.windows.net/c?sig=x")),
            Some("no container of blobs"),
        ),
        (&state(at("http://127.0.0.1:10000/devstoreaccount1/c")), None),
        (&state(by("gateways")), Some("no identity")),
        (&state(by(IDENTITY)), None),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let said = with(change);
        assert_eq!(said.is_some(), expected.is_some(), "{number}: {said:?}");
        assert!(
            said.unwrap_or_default().contains(expected.unwrap_or_default()),
            "{number}"
        );
    }
}

#[test]
fn a_gateway_is_never_restarted_for_ever() {
    for (text, expected) in [
        ("Never", Ok(Restart::Never)),
        ("on-failure", Ok(Restart::OnFailure)),
        ("OnFailure", Ok(Restart::OnFailure)),
        ("Always", Err(RestartError::Always)),
        ("sometimes", Err(RestartError::Unknown("sometimes".to_owned()))),
    ] {
        assert_eq!(text.parse::<Restart>(), expected);
    }
    assert!(RestartError::Always.to_string().contains("for ever"));
}

#[tokio::test]
async fn an_order_cannot_have_a_port_that_azure_keeps() {
    let azure = Azure::start_with(Settings::default(), Stage::new());
    let described = place(&azure, config(&azure)).describe();
    for (port, is_free) in [
        (443, true),
        (51_820, false),
        (20_000, false),
        (30_001, true),
        (65_535, true),
    ] {
        let said = described.check_port(Some(port));
        assert_eq!(said.is_ok(), is_free, "{port} {said:?}");
    }
}
