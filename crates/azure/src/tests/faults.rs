//! Answers that come late, twice, or never.

use super::*;
use crate::{ArmError, Kind};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn what_is_throttled_or_held_up_is_asked_again_when_the_service_says() {
    for (status, code) in [
        (429, "TooManyRequests"),
        (429, "RetryableErrorDueToAnotherOperation"),
        (409, "AnotherOperationInProgress"),
        (503, "ServiceUnavailable"),
    ] {
        let mut asked = 0;
        let (arm, server, clock) = arm(move |_| {
            asked += 1;
            if asked < 3 {
                reply(status).header("retry-after", "17").error(code).into()
            } else {
                reply(200).json(json!({})).into()
            }
        })
        .await;
        arm.send(&machine(Method::Put)).await.unwrap();
        assert_eq!(server.lines().len(), 3, "{code}");
        let waits = clock.waits();
        assert!(
            waits.iter().all(|wait| (17 * SECOND..=18 * SECOND).contains(wait)) && waits.len() == 2,
            "{waits:?}"
        );
    }
}

#[tokio::test]
async fn throttling_without_end_ends_with_patience() {
    let (arm, _server, clock) = arm(|_| reply(429).header("retry-after", "50").error("TooManyRequests").into()).await;
    let error = arm
        .with_patience(120 * SECOND)
        .send(&machine(Method::Get))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Transient);
    assert_eq!(clock.waits().len(), 2, "a third wait would end too late");
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_nothing_is_done_twice() {
    // A machine that can be made once.
    let mut is_there = false;
    let (arm, server, _) = arm(move |asked| {
        if is_there && asked.header("if-none-match").is_some() {
            return reply(412).error("PreconditionFailed").into();
        }
        if std::mem::replace(&mut is_there, true) {
            reply(200).json(json!({"name": "vm"})).into()
        } else {
            Play::Lose
        }
    })
    .await;
    let error = arm.send(&machine(Method::Put).if_absent()).await.unwrap_err();
    assert!(
        matches!(&error, ArmError::Service { maybe_done: true, .. }),
        "it may be our own: {error:?}"
    );
    assert_eq!(error.kind(), Kind::Conflict);
    // Without the condition it is simply made so.
    arm.send(&machine(Method::Put)).await.unwrap();
    assert_eq!(server.lines().len(), 3);
}

#[tokio::test]
async fn an_action_whose_answer_is_lost_is_not_repeated_unless_it_may_be() {
    for (request, times) in [
        (machine(Method::Post), 1),
        (machine(Method::Post).repeatable(), 2),
        (machine(Method::Delete), 2),
    ] {
        let mut asked = 0;
        let (arm, server, _) = arm(move |_| {
            asked += 1;
            if asked == 1 {
                Play::Lose
            } else {
                reply(200).json(json!({})).into()
            }
        })
        .await;
        let sent = arm.send(&request).await;
        assert_eq!(server.lines().len(), times, "{request:?}");
        assert_eq!(matches!(sent, Err(ArmError::Unclear { .. })), times == 1, "{sent:?}");
    }
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    // (good tokens, sent, succeeds?)
    for (good, times, succeeds) in [("Bearer t2", 2, true), ("Bearer t9", 2, false)] {
        let (arm, server, _) = arm(move |asked| {
            if asked.header("authorization") == Some(good) {
                reply(200).json(json!({})).into()
            } else {
                reply(401).error("ExpiredAuthenticationToken").into()
            }
        })
        .await;
        let sent = arm.send(&machine(Method::Post)).await;
        assert_eq!((server.lines().len(), sent.is_ok()), (times, succeeds));
        if let Err(error) = sent {
            assert_eq!(error.kind(), Kind::Denied);
            assert!(error.remedy().unwrap().contains("az login"));
        }
    }
}

#[tokio::test]
async fn a_body_that_stalls_or_has_no_end_does_not_hold_anybody_up() {
    let (slow, server, _) = arm(|_| Play::Stall).await;
    let slow = slow.with_limit(Duration::from_millis(100)).with_patience(SECOND / 1000);
    let error = slow.send(&machine(Method::Get)).await.unwrap_err();
    assert!(
        matches!(&error, ArmError::Unclear { why, .. } if why.contains("too long")),
        "{error:?}"
    );
    assert_eq!(server.lines().len(), 1);
    let (huge, server, _) = arm(|_| Play::Flood).await;
    let error = huge.send(&machine(Method::Get)).await.unwrap_err();
    assert!(
        matches!(&error, ArmError::Unreadable { why, .. } if why.contains("longer than")),
        "{error:?}"
    );
    assert_eq!(server.lines().len(), 1, "it is not asked for again");
}
