//! Operations against a server that loses, forgets and misleads.

use super::*;
use crate::{ArmError, Kind, Operation, Progress};

const LIMIT: Duration = Duration::from_secs(1800);

fn here(asked: &Asked, target: &str) -> String {
    format!("http://{}{target}", asked.header("host").unwrap())
}

fn state(word: &str) -> Play {
    reply(200)
        .json(json!({"name": "vm", "properties": {"provisioningState": word}}))
        .into()
}

#[tokio::test]
async fn a_machine_is_made_and_its_token_expires_on_the_way() {
    let mut polls = 0;
    let (arm, server, clock) = arm(move |asked| match asked.line().as_str() {
        "GET /operations/1" => {
            polls += 1;
            let status = if polls < 4 { "InProgress" } else { "Succeeded" };
            reply(200)
                .header("retry-after", "600")
                .json(json!({ "status": status }))
                .into()
        }
        line if line.starts_with("PUT") => {
            let url = here(asked, "/operations/1?t=1&monitor=true");
            reply(201)
                .header("azure-asyncoperation", &url)
                .header("retry-after", "1800")
                .json(json!({}))
                .into()
        }
        _ => state("Succeeded"),
    })
    .await;
    let made = arm
        .carry_out(&machine(Method::Put), Duration::from_secs(7200))
        .await
        .unwrap();
    assert_eq!(made["name"], "vm");
    // Half an hour is bounded to ten minutes; the token of one hour is renewed five minutes before its end.
    let asked = server.asked();
    let tokens: Vec<&str> = asked.iter().filter_map(|asked| asked.header("authorization")).collect();
    assert_eq!(tokens, ["Bearer t1"; 6], "40 minutes need one token");
    assert_eq!(clock.waits(), [Duration::from_secs(600); 4]);
    let target = &asked[2].target;
    assert_eq!(
        target, "/operations/1?t=1&monitor=true",
        "the URL is followed as it came"
    );
    clock.leap(Duration::from_secs(1000));
    arm.send(&machine(Method::Get)).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked.last().unwrap().header("authorization"), Some("Bearer t2"));
}

#[tokio::test]
async fn an_operation_that_never_ends_is_given_up_in_time() {
    let (arm, server, clock) = arm(|asked| reply(202).header("location", &here(asked, "/results/1")).into()).await;
    let error = arm.carry_out(&machine(Method::Delete), LIMIT).await.unwrap_err();
    assert_eq!(error, ArmError::Overdue(LIMIT));
    assert_eq!(error.kind(), Kind::Transient);
    let waited: Duration = clock.waits().iter().sum();
    assert!(
        waited <= LIMIT && waited > LIMIT - Duration::from_secs(60),
        "{waited:?}"
    );
    assert!(
        server.lines().len() < 80,
        "it is asked ever more seldom: {}",
        server.lines().len()
    );
}

#[tokio::test]
async fn a_failed_operation_tells_its_cause() {
    let (arm, _server, _) = arm(|asked| {
        if asked.method == "PUT" {
            return reply(201).header("azure-asyncoperation", &here(asked, "/operations/1")).json(json!({})).into();
        }
        let cause = json!({"code": "QuotaExceeded", "message": "cores: 4 of 4."});
        reply(200).json(json!({"status": "Failed", "error": {"code": "Conflict", "message": "See details.", "details": [cause]}})).into()
    })
    .await;
    let error = arm.carry_out(&machine(Method::Put), LIMIT).await.unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.kind()),
        ("QuotaExceeded: cores: 4 of 4", Kind::Refused)
    );
    assert!(error.remedy().unwrap().contains("Usage + quotas"));
}

#[tokio::test]
async fn trouble_on_the_way_and_a_forgotten_location_do_not_end_an_operation() {
    let mut polls = 0;
    let (arm, server, _) = arm(move |asked| {
        if asked.method == "PUT" {
            return reply(202).header("location", &here(asked, "/results/1")).into();
        }
        polls += 1;
        match polls {
            1 => Play::Lose,
            2 => reply(502).text("<title>Bad Gateway</title>").into(),
            3 => reply(202).into(),
            4 => reply(404).error("NotFound").into(),
            5 => state("Creating"),
            _ => state("Succeeded"),
        }
    })
    .await;
    let made = arm.carry_out(&machine(Method::Put), LIMIT).await.unwrap();
    assert_eq!(made["name"], "vm");
    let lines = server.lines();
    let (results, resource) = (
        ["GET /results/1"; 4],
        [format!("GET {MACHINE}"), format!("GET {MACHINE}")],
    );
    assert_eq!(lines[1..5], results);
    assert_eq!(lines[5..], resource);
}

#[tokio::test]
async fn a_poll_url_elsewhere_gets_neither_question_nor_token() {
    let other = Server::start(|_| state("Succeeded")).await;
    let elsewhere = format!("{}/operations/1", other.address);
    let (arm, server, _) = arm(move |asked| {
        if asked.method == "PUT" {
            return reply(201)
                .header("azure-asyncoperation", &elsewhere)
                .header("location", &elsewhere)
                .json(json!({"properties": {"provisioningState": "Creating"}}))
                .into();
        }
        state("Succeeded")
    })
    .await;
    arm.carry_out(&machine(Method::Put), LIMIT).await.unwrap();
    assert_eq!(server.lines(), [format!("PUT {MACHINE}"), format!("GET {MACHINE}")]);
    assert_eq!(other.asked().len(), 0);
}

#[tokio::test]
async fn an_action_gives_what_location_gives() {
    let output = json!({"value": [{"code": "ProvisioningState/succeeded", "message": "Enable succeeded: \n[stdout]\nx\n[stderr]\n"}]});
    let result = output.clone();
    let mut polls = 0;
    let (arm, server, _) = arm(move |asked| {
        polls += 1;
        match polls {
            1 => reply(202)
                .header("azure-asyncoperation", &here(asked, "/operations/1"))
                .header("location", &here(asked, "/results/1"))
                .into(),
            2 => reply(200).json(json!({"status": "InProgress"})).into(),
            3 => reply(200).json(json!({"status": "Succeeded"})).into(),
            _ => reply(200).json(result.clone()).into(),
        }
    })
    .await;
    assert_eq!(arm.carry_out(&machine(Method::Post), LIMIT).await.unwrap(), output);
    assert_eq!(
        server.lines()[1..],
        ["GET /operations/1", "GET /operations/1", "GET /results/1"]
    );
}

#[tokio::test]
async fn a_restart_goes_on_where_it_was() {
    let mut polls = 0;
    let (first, server, clock) = arm(move |asked| {
        if asked.method == "PUT" {
            return reply(201)
                .header("azure-asyncoperation", &here(asked, "/operations/1?s=x"))
                .json(json!({}))
                .into();
        }
        polls += 1;
        match polls {
            1 => reply(200).json(json!({"status": "InProgress"})).into(),
            2 => reply(200).json(json!({"status": "Succeeded"})).into(),
            _ => state("Succeeded"),
        }
    })
    .await;
    let mut kept = Vec::new();
    let progress = first.begin(&machine(Method::Put)).await.unwrap();
    let short = Duration::from_secs(2);
    let keep = |operation: &Operation| kept.push(serde_json::to_string(operation).unwrap());
    let ended = first.finish(progress, short, keep).await;
    assert_eq!(ended.unwrap_err(), ArmError::Overdue(short));
    drop(first);
    let second = client(&server, &clock);
    let operation: Operation = serde_json::from_str(kept.last().unwrap()).unwrap();
    let progress = second.poll(&operation).await.unwrap();
    assert_eq!(second.finish(progress, LIMIT, |_| {}).await.unwrap()["name"], "vm");
    let lines = server.lines();
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("PUT")).count(),
        1,
        "{lines:?}"
    );
    assert_eq!(lines.last().unwrap(), &format!("GET {MACHINE}"));
}

#[tokio::test]
async fn what_was_kept_for_another_server_is_not_asked_there() {
    let other = Server::start(|_| state("Succeeded")).await;
    let (arm, server, _) = arm(|_| state("Succeeded")).await;
    let kept = json!({
        "stage": {"Status": format!("{}/operations/1", other.address)},
        "purpose": "Make",
        "resource": {"path": MACHINE, "api_version": "2024-11-01"},
        "result": null,
        "polls": 3,
    });
    let operation: Operation = serde_json::from_value(kept).unwrap();
    let progress = arm.poll(&operation).await.unwrap();
    assert!(matches!(progress, Progress::Running(..)));
    arm.finish(progress, LIMIT, |_| {}).await.unwrap();
    assert_eq!(other.asked().len(), 0);
    assert_eq!(server.lines(), [format!("GET {MACHINE}")]);
}
