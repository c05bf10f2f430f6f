//! Traces: whose a request is, and what of that is told to whom.

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use hub::{config::Typed, otlp::Exporter};
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Handle, sync::mpsc};
use tracing::instrument::WithSubscriber as _;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::stage::{Hub, LIMIT};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_belongs_to_its_callers_trace_and_its_answer_says_nothing_of_it() {
    let (sender, mut sent) = mpsc::channel::<Value>(9);
    let take = async |State(sender): State<mpsc::Sender<Value>>, Json(body): Json<Value>| {
        sender.send(body).await.map_or(StatusCode::GONE, |()| StatusCode::OK)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/traces", post(take)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let hub = Hub::with(Typed {
        otlp_endpoint: Some(endpoint.clone()),
        ..Typed::default()
    });
    let (exporter, _spans) = Exporter::start(&endpoint, &Handle::current()).unwrap();
    let subscriber = tracing_subscriber::registry().with(exporter);
    let asked = async {
        for (id, context) in [
            ("taken", format!("00-{TRACE}-{CALLER}-01")),
            ("malformed", format!("00-{}-{CALLER}-01", TRACE.to_uppercase())),
            ("unsampled", format!("00-{TRACE}-{CALLER}-00")),
        ] {
            let question = hub.get("/api/v1/me").with("x-request-id", id);
            let answer = question
                .with("traceparent", &context)
                .with("tracestate", "vendor=secret")
                .send()
                .await;
            for (name, value) in &answer.headers {
                let value = value.to_str().unwrap();
                assert!(
                    !name.as_str().starts_with("trace") && !value.contains(TRACE),
                    "{name}: {value}"
                );
            }
            assert!(!answer.text().contains(TRACE));
            answer.expect(200);
        }
    };
    asked.with_subscriber(subscriber).await;
    let body = tokio::time::timeout(LIMIT, sent.recv()).await.unwrap().unwrap();
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let of = |id: &str| {
        spans.iter().find(|span| {
            let attributes = span["attributes"].as_array().into_iter().flatten();
            span["name"] == "request"
                && attributes
                    .into_iter()
                    .any(|attribute| attribute["key"] == "request_id" && attribute["value"]["stringValue"] == id)
        })
    };
    let taken = of("taken").unwrap();
    assert_eq!(
        (taken["traceId"].as_str(), taken["parentSpanId"].as_str()),
        (Some(TRACE), Some(CALLER))
    );
    assert_ne!(taken["spanId"], CALLER);
    let malformed = of("malformed").unwrap();
    assert_ne!(malformed["traceId"], TRACE);
    assert!(
        malformed["parentSpanId"].is_null() && of("unsampled").is_none(),
        "{body}"
    );
    assert!(!body.to_string().contains("vendor=secret"));
}
