//! What is logged of a request carries its id, whichever part of the hub says it.

use std::{
    io,
    sync::{Arc, Mutex},
};

use hub::config::{Typed, TypedRates};
use serde_json::{Value, json};
use tracing_subscriber::{
    filter::LevelFilter, fmt::MakeWriter, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::stage::{Hub, KEY, memory, quick};

/// What was written, by everything in this process.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Lines {
    /// The lines that say this, of the request of this id.
    fn of(&self, id: &str, message: &str) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let is_of = |line: &Value| {
            let spans = line["spans"].as_array().into_iter().flatten();
            spans.into_iter().any(|span| span["request_id"] == id)
        };
        lines
            .filter(|line| line["message"].as_str().is_some_and(|said| said.contains(message)))
            .filter(is_of)
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_the_hub_logs_under_the_requests_id() {
    let lines = Lines::default();
    // For the whole process: what waits for the disk does so in threads of its own.
    tracing_subscriber::registry()
        .with(LevelFilter::INFO)
        .with(
            tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(lines.clone()),
        )
        .init();
    let database = memory();
    let config = hub::Config::new(Typed {
        rates: TypedRates {
            per_user: Some(50),
            per_address: Some(1_000),
        },
        ..Typed::default()
    });
    let place = launch::place::simulate::Simulate::new(quick());
    let hub = Hub::of(config.unwrap(), place, Arc::clone(&database), launch::Clock::system());
    let request = json!({"peers": [{"name": "phone", "public_key": KEY}]});
    let page = || hub.get("/nothing").with("accept", "text/html");
    for (id, question, said) in [
        ("log-api", hub.post("/api/v1/leases", &request), "requested"),
        ("log-answer", hub.get("/api/v1/me"), "answered"),
        ("log-page", page(), "answered"),
        ("log-alias", hub.ask("POST", "/api/StartVPN"), "requested"),
        (
            "log-sign-in",
            hub.get("/api/v1/me").by("wrong"),
            "a sign-in was refused",
        ),
    ] {
        let answer = question.with("x-request-id", id).send().await;
        assert_eq!(lines.of(id, said).len(), 1, "{id}: {}", answer.status);
    }
    // Too often.
    let mut status = 0;
    while status != 429 {
        let answer = hub.get("/api/v1/me").with("x-request-id", "log-rates").send().await;
        status = answer.status.as_u16();
    }
    let refused = lines.of("log-rates", "answered");
    assert!(
        refused.iter().any(|line| line["code"] == "too_many_requests"),
        "{refused:?}"
    );
    // On a full disk.
    let hub = Hub::of(
        hub::Config::new(Typed::default()).unwrap(),
        launch::place::simulate::Simulate::new(quick()),
        Arc::clone(&database),
        launch::Clock::system(),
    );
    let limit = |most: i64| {
        let set = |connection: &rusqlite::Connection| {
            connection.pragma_update_and_check(None, "max_page_count", most, |_| Ok(()))
        };
        database.read::<(), rusqlite::Error>(set).unwrap();
    };
    limit(1);
    let mut status = 0;
    for _ in 0..500 {
        let question = hub.post("/api/v1/leases", &json!({"peers": []}));
        status = question.with("x-request-id", "log-audit").send().await.status.as_u16();
        if status == 503 {
            break;
        }
    }
    assert_eq!(status, 503);
    assert!(!lines.of("log-audit", "the audit cannot be written").is_empty());
    limit(1 << 30);
}
