//! What is sent, and what is never sent or written down.

use std::{
    io,
    sync::{Arc, Mutex},
};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::{ArmError, Kind, RequestId};

#[tokio::test]
async fn a_request_arrives_as_it_was_made_with_token_and_numbers() {
    let (arm, server, _) = arm(|_| {
        reply(201)
            .header("etag", "\"1\"")
            .header("x-ms-request-id", "r-1")
            .json(json!({"name": "vm"}))
            .into()
    })
    .await;
    let lease = RequestId::from_bytes([7; 16]);
    let request = machine(Method::Put)
        .with_query("$expand", "a b")
        .if_absent()
        .with_body(json!({"location": "westeurope"}));
    let answer = arm.correlated(lease).send(&request).await.unwrap();
    assert_eq!((answer.status, answer.body), (201, json!({"name": "vm"})));
    assert_eq!(
        (answer.etag.as_deref(), answer.request_id.as_deref()),
        (Some("\"1\""), Some("r-1"))
    );
    let asked = server.asked();
    let [token, put] = asked.as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!(token.target, TOKEN_PATH);
    assert_eq!(put.target, format!("{MACHINE}?%24expand=a%20b&api-version=2024-11-01"));
    assert_eq!(put.body, r#"{"location":"westeurope"}"#);
    let lease = lease.to_string();
    for (name, value) in [
        ("authorization", "Bearer t1"),
        ("if-none-match", "*"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("x-ms-correlation-request-id", lease.as_str()),
        ("user-agent", concat!("adit/", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(put.header(name), Some(value), "{name}");
    }
    assert_eq!(put.header("x-ms-client-request-id").map(str::len), Some(36));
}

#[tokio::test]
async fn a_redirection_is_not_followed_and_takes_no_token_elsewhere() {
    let other = Server::start(|_| reply(200).json(json!({})).into()).await;
    let elsewhere = other.address.clone();
    let (arm, _server, _) = arm(move |_| reply(307).header("location", &elsewhere).into()).await;
    let error = arm.send(&machine(Method::Put)).await.unwrap_err();
    assert_eq!(error.service().unwrap().status, 307);
    assert_eq!(other.asked().len(), 0);
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_cannot_be_told() {
    // (method, answer, found?)
    for (answer, found) in [
        (reply(200).json(json!({"name": "vm"})), Some(true)),
        (reply(404).error("ResourceNotFound"), Some(false)),
        (reply(404).error("ResourceGroupNotFound"), Some(false)),
        (reply(404).error("SubscriptionNotFound"), None),
        (reply(404).text("<html>not here</html>"), None),
        (reply(403).error("AuthorizationFailed"), None),
        (reply(200).text("<html>welcome to this network</html>"), None),
    ] {
        let label = format!("{answer:?}");
        let (arm, _server, _) = arm(move |_| answer.clone().into()).await;
        let came = arm.find(&machine(Method::Get)).await;
        assert_eq!(came.map(|found| found.is_some()).ok(), found, "{label}");
    }
    let numbered = |status| reply(status).header("x-ms-request-id", "r-1");
    for (answer, expected) in [
        (numbered(204), Some(true)),
        (numbered(404), Some(false)),
        (reply(404), None),
        (numbered(403), None),
    ] {
        let (arm, server, _) = arm(move |_| answer.clone().into()).await;
        let path = Path::new(&["subscriptions", "s", "resourcegroups", "rg"]).unwrap();
        assert_eq!(arm.exists(path, "2025-04-01").await.ok(), expected);
        assert_eq!(server.lines(), ["HEAD /subscriptions/s/resourcegroups/rg"]);
    }
}

#[tokio::test]
async fn an_error_reaches_the_person_with_code_message_and_remedy() {
    let (arm, _server, _) = arm(|_| {
        let error =
            json!({"error": {"code": "SkuNotAvailable", "message": "Standard_B1s is not available in location 'x'."}});
        reply(409).header("x-ms-request-id", "r-1").json(error).into()
    })
    .await;
    let error = arm.send(&machine(Method::Put)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "SkuNotAvailable: Standard_B1s is not available in location 'x' (request r-1)"
    );
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.remedy().unwrap().contains("az vm list-skus"));
}

#[tokio::test]
async fn nobody_listening_is_nothing_done() {
    let (arm, server, clock) = arm(|_| Play::Lose).await;
    arm.tokens().token(crate::cloud::Audience::Arm).await.unwrap();
    let address = server.address.clone();
    drop(server);
    // Its port may be another's by now, but for the answer of no one.
    tokio::task::yield_now().await;
    let error = arm.send(&machine(Method::Post)).await.unwrap_err();
    assert!(matches!(&error, ArmError::Unreachable { .. }), "{error:?} {address}");
    assert!(clock.waits().len() > 2, "it was tried again: {:?}", clock.waits());
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn logs_hold_the_numbers_and_neither_tokens_nor_bodies_nor_signatures() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    // With one subscriber alone, a line that another test's thread comes to first is silent for ever.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let mut polls = 0;
    let (arm, server, _) = arm(move |asked| {
        polls += 1;
        match polls {
            1 => reply(429)
                .header("retry-after", "3")
                .header("x-ms-request-id", "r-1")
                .error("TooManyRequests")
                .into(),
            2 => {
                let url = format!("http://{}/operations/1?sig=signed", asked.header("host").unwrap());
                reply(202)
                    .header("azure-asyncoperation", &url)
                    .header("x-ms-request-id", "r-2")
                    .into()
            }
            _ => reply(200)
                .json(json!({"status": "Failed", "error": {"code": "X", "message": "private-message"}}))
                .into(),
        }
    })
    .await;
    let request = machine(Method::Put).with_body(json!({"customData": "c2VjcmV0"}));
    arm.carry_out(&request, Duration::from_secs(600)).await.unwrap_err();
    assert_eq!(server.lines().len(), 3);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for part in ["r-1", "r-2", MACHINE, "status=429", "/operations/1"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    for secret in ["t1", "s3cret", "c2VjcmV0", "signed", "private-message"] {
        let is_there = text
            .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
            .any(|word| word == secret);
        assert!(!is_there, "{secret} is in {text}");
    }
    assert!(!format!("{arm:?}").contains("s3cret"));
}
