//! Where leases are looked for, by what is kept of them.

use launch::Moment;

use super::{super::docker::InDocker, *};
use crate::cloud::AzureSettings;

fn launched(socket: &str, endpoint: Option<&str>) -> InDocker {
    InDocker {
        socket: socket.into(),
        image: None,
        endpoint: endpoint.map(str::to_owned),
    }
}

fn azure() -> AzureSettings {
    let text = r#"{"kind": "azure-container", "subscription": "0b1f6471-1bf0-4dda-aec3-cb9272f09590", "region": "eastus",
                   "image": "a", "registry": {"server": "s", "user": "u", "password_file": "/nowhere"}}"#;
    serde_json::from_str(text).unwrap()
}

fn id(number: u128) -> LeaseId {
    LeaseId::new(Moment::from_millis(1), number)
}

#[test]
fn a_lease_stays_where_it_was_launched_at() {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::open(folder.path()).unwrap();
    let first = launched("/run/first.sock", Some("192.0.2.1:443"));
    book.keep(id(1), &first).unwrap();
    book.keep(id(3), &azure()).unwrap();
    // Another command, for another engine.
    let engines = Kept::new(book.clone(), launched("/run/second.sock", None)).unwrap();
    let sites = |ids: &[LeaseId]| {
        let mut sites: Vec<(String, Vec<LeaseId>)> = engines
            .all(ids)
            .into_iter()
            .map(|(site, known)| (site, known.leases))
            .collect();
        sites.sort();
        sites
    };
    assert_eq!(
        sites(&[id(1), id(2), id(3)]),
        [
            ("/run/first.sock".to_owned(), vec![id(1)]),
            ("/run/second.sock".to_owned(), vec![])
        ]
    );
    assert_eq!(book.kept(id(1)).unwrap(), Some(first));
    // Nothing is there of a lease that no row knows.
    let kept = || {
        let mut kept = book.all_kept().unwrap();
        kept.sort();
        kept
    };
    engines.forget(&[id(1)], &[id(1)]);
    assert_eq!(kept(), [id(1), id(3)]);
    engines.forget(&[id(1)], &[]);
    assert_eq!(kept(), [id(3)]);
}

#[test]
fn what_is_kept_and_makes_no_sense_is_no_other_place() {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::open(folder.path()).unwrap();
    let engines = Kept::new(book, launched("/run/second.sock", None)).unwrap();
    for text in [
        "{",
        r#"{"socket":"/x","image":null,"endpoint":"a b"}"#,
        r#"{"kind":"azure-vm"}"#,
    ] {
        std::fs::write(folder.path().join(format!("engines/{}", id(1))), text).unwrap();
        assert_eq!(engines.of(id(1)).unwrap_err().kind, FaultKind::Unclear, "{text}");
    }
}

#[tokio::test]
async fn places_that_do_not_answer_cannot_tell() {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::open(folder.path()).unwrap();
    // One that is there, and behind which nobody is.
    let silent = folder.path().join("silent.sock");
    drop(std::os::unix::net::UnixListener::bind(&silent).unwrap());
    book.keep(id(1), &launched(silent.to_str().unwrap(), None)).unwrap();
    let engines = Kept::new(book.clone(), launched("/nowhere.sock", None)).unwrap();
    assert!(engines.list("x").await.is_err());
    assert_eq!(book.all_kept().unwrap(), [id(1)]);
    // Where nothing is launched and nothing is kept, nobody is asked.
    let none = Kept::<AzureSettings>::without(book, Description::default());
    assert_eq!(none.list("x").await.unwrap(), []);
    assert_eq!(none.of(id(2)).unwrap_err().code, "place_unknown");
}

#[tokio::test]
async fn a_gateway_is_removed_by_who_lacks_the_secrets_that_it_was_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::open(folder.path()).unwrap();
    assert!(Kept::new(book.clone(), azure()).is_err());
    book.keep(id(1), &azure()).unwrap();
    let place = Kept::<AzureSettings>::without(book, Description::default())
        .of(id(1))
        .unwrap();
    let job = Job {
        id: id(1),
        instance: "x".to_owned(),
        order: launch::order::Order::plain("azure-container", 60),
        peers: Vec::new(),
        remaining: std::time::Duration::from_secs(60),
        refs: serde_json::Value::Null,
    };
    let fault = place.create(&job).await.unwrap_err();
    assert_eq!(fault.code, "secret_missing");
    assert!(fault.message.contains("password_file: /nowhere"), "{fault:?}");
}
