//! Accounts that an admin has blocked.

use serde_json::json;

use super::World;
use crate::{browser::Question, entry};

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_blocked_is_out_at_once_and_stays_out() {
    let world = World::new().await;
    let (_, token) = entry::token(&world.eve, &["launch"]).await;
    let subject = format!("{}|eve", world.idp.issuer);
    let list = || Question::api("GET", "/api/v1/leases");
    assert!(world.hub.app.sign_in.set_blocked(&subject, true).await.unwrap());
    world
        .refuse(vec![
            (
                "by the session that he had",
                world.eve.clone(),
                list(),
                401,
                "unauthorized",
            ),
            (
                "by the token that he had",
                world.nobody(),
                list().by(&token),
                403,
                "account_blocked",
            ),
        ])
        .await;
    world
        .idp
        .plan(|plan| plan.claims = json!({"sub": "eve", "name": "Eve", "email": "", "groups": ["vpn-admins"]}));
    let mut again = world.nobody();
    let answer = entry::by_provider(&mut again, &world.idp).await;
    assert_eq!((answer.status.as_u16(), answer.begins_session()), (403, false));
    assert!(answer.text().contains("blocked"), "{}", answer.text());
    let refused = world.hub.audited("session.begin", "refused").await;
    assert_eq!(refused[0].who, subject);
    assert!(world.hub.app.sign_in.set_blocked(&subject, false).await.unwrap());
    assert_eq!(world.nobody().peek(list().by(&token)).await.status, 200);
    let accounts = world.hub.app.sign_in.accounts().await.unwrap();
    assert_eq!(accounts.len(), 3);
}
