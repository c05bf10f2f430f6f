//! Sign-ins that somebody else has begun, or finished before.

use std::time::Duration;

use crate::{browser::Browser, entry, hub::Hub, idp::Idp};

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_finished_by_the_browser_that_began_it_and_once() {
    let idp = Idp::start().await;
    let hub = Hub::public(&idp.issuer);
    idp.plan(|plan| plan.takes_codes_again = true);
    let mut ada = Browser::new(&hub);
    let began = entry::to_provider(&mut ada, &idp, "/").await;
    let before = ada.clone();
    assert!(ada.get(&began.path()).await.begins_session());

    let mut eve = Browser::new(&hub);
    let hers = entry::to_provider(&mut eve, &idp, "/").await;
    let others = |change: fn(&mut crate::idp::Back)| {
        let mut back = hers.clone();
        change(&mut back);
        back.path()
    };
    let mut late = Browser::new(&hub);
    let too_late = entry::to_provider(&mut late, &idp, "/").await;
    // (what, who, what he asks for)
    let ways = [
        ("the same answer again", before, began.path()),
        (
            "somebody else's answer, to sign him in as her",
            Browser::new(&hub),
            hers.path(),
        ),
        ("no state", eve.clone(), others(|back| back.state.clear())),
        ("another state", eve.clone(), others(|back| back.state.push('x'))),
        ("nothing at all", eve.clone(), "/login/callback".to_owned()),
    ];
    for (what, mut browser, path) in ways {
        let answer = browser.get(&path).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(!answer.begins_session() && browser.me().await.is_none(), "{what}");
    }
    // Her own was used up by him who tried it.
    assert_eq!(eve.get(&hers.path()).await.status, 400);
    for (what, change) in [
        (
            "an answer of another provider",
            (|back| back.iss = Some("https://evil.example".to_owned())) as fn(&mut crate::idp::Back),
        ),
        ("an answer of an unnamed provider", |back| back.iss = None),
    ] {
        let mut back = entry::to_provider(&mut eve, &idp, "/").await;
        change(&mut back);
        let answer = eve.get(&back.path()).await;
        assert_eq!(answer.status, 400, "{what}");
        assert!(
            answer.text().contains("not from the provider"),
            "{what}: {}",
            answer.text()
        );
    }
    // The code of one sign-in in the answer to another.
    let mut mixed = entry::to_provider(&mut eve, &idp, "/").await;
    mixed.code = began.code;
    let answer = eve.get(&mixed.path()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.begins_session()),
        (502, false),
        "{}",
        answer.text()
    );
    // Nobody is led elsewhere by an address that looks like ours.
    for next in [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "/%09/evil.example",
    ] {
        let mut browser = Browser::new(&hub);
        let back = entry::to_provider(&mut browser, &idp, next).await;
        let answer = browser.get(&back.path()).await;
        assert_eq!(answer.header("location"), "/", "{next}");
    }
    hub.advance(Duration::from_secs(601));
    let answer = late.get(&too_late.path()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.begins_session()),
        (400, false),
        "after ten minutes"
    );
}
