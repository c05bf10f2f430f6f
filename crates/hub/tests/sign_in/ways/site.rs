//! Another site makes a browser ask.

use super::World;
use crate::browser::Question;

#[tokio::test(flavor = "multi_thread")]
async fn no_other_site_acts_with_somebodys_session() {
    let world = World::new().await;
    let ada = || world.ada.clone();
    let csrf = world.ada.csrf().await;
    let others = world.eve.csrf().await;
    let own = world.hub.app.config.origin.to_string();
    let path = format!("/leases/{}/end", world.lease);
    let form = |csrf: &str| Question::form(&path, &[("csrf", csrf)]);
    let same = |question: Question| question.on_own_page(&world.hub);
    let delete = || Question::api("DELETE", &format!("/api/v1/leases/{}", world.lease));

    world
        .refuse(vec![
            (
                "a form of another site",
                ada(),
                form(&csrf)
                    .with("sec-fetch-site", "cross-site")
                    .with("origin", "https://evil.example"),
                403,
                "wrong_origin",
            ),
            (
                "a form of another site, in an old browser",
                ada(),
                form(&csrf).with("origin", "https://evil.example"),
                403,
                "wrong_origin",
            ),
            (
                "a form of a neighbour below the same domain",
                ada(),
                form(&csrf)
                    .with("sec-fetch-site", "same-site")
                    .with("origin", "https://blog.example.org"),
                403,
                "wrong_origin",
            ),
            (
                "a form of a sandbox",
                ada(),
                form(&csrf).with("origin", "null"),
                403,
                "wrong_origin",
            ),
            (
                "a form of the same host without encryption",
                ada(),
                form(&csrf).with("origin", &own.replace("https", "http")),
                403,
                "wrong_origin",
            ),
            (
                "a form of a host that begins like this one",
                ada(),
                form(&csrf).with("origin", &format!("{own}.evil.example")),
                403,
                "wrong_origin",
            ),
            (
                "a form from an address that names this one",
                ada(),
                form(&csrf).with("referer", &format!("https://evil.example/{own}/")),
                403,
                "wrong_origin",
            ),
            ("a form from nowhere", ada(), form(&csrf), 403, "wrong_origin"),
            (
                "an own form without the value",
                ada(),
                same(Question::form(&path, &[])),
                403,
                "wrong_csrf",
            ),
            (
                "an own form with an empty value",
                ada(),
                same(form("")),
                403,
                "wrong_csrf",
            ),
            (
                "an own form with another session's value",
                ada(),
                same(form(&others)),
                403,
                "wrong_csrf",
            ),
            (
                "an own form with the value in the address",
                ada(),
                same(Question::form(&format!("{path}?csrf={csrf}"), &[])),
                403,
                "wrong_csrf",
            ),
            ("a script without the value", ada(), same(delete()), 403, "wrong_csrf"),
            (
                "a script of another site",
                ada(),
                delete()
                    .with("x-csrf-token", &csrf)
                    .with("sec-fetch-site", "cross-site"),
                403,
                "wrong_origin",
            ),
            (
                "a form that looks like JSON",
                ada(),
                same(Question::form("/api/v1/leases", &[])).with("content-type", "text/plain"),
                403,
                "wrong_csrf",
            ),
            (
                "signing somebody out from another site",
                ada(),
                Question::form("/logout", &[("csrf", &csrf)]).with("sec-fetch-site", "cross-site"),
                403,
                "wrong_origin",
            ),
            (
                "another host's name that leads here",
                ada(),
                delete().with("host", "evil.example"),
                421,
                "wrong_host",
            ),
        ])
        .await;
    assert!(world.ada.me().await.is_some());
    // The hub's own page may.
    let answer = world.ada.peek(same(form(&csrf))).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
}
