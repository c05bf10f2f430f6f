//! Spans as the collector wants them (OpenTelemetry protocol, `ExportTraceServiceRequest` in JSON).

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

/// A span that is over.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: &'static str,
    pub(super) begun: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) attributes: Vec<(&'static str, Field)>,
    /// Whether it is sent: whoever began the trace may not want it.
    pub(super) is_sampled: bool,
}

/// A value that was recorded.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    Text(String),
    Number(i64),
    Truth(bool),
}

/// `SPAN_KIND_SERVER` and `SPAN_KIND_INTERNAL`.
const SERVER: u8 = 2;
const INTERNAL: u8 = 1;

/// What is posted to the collector.
pub(super) fn request(spans: &[Span]) -> Value {
    let resource = [
        ("service.name", "adit-hub"),
        ("service.version", env!("CARGO_PKG_VERSION")),
    ];
    let resource: Vec<Value> = resource
        .iter()
        .map(|(name, value)| attribute(name, &Field::Text((*value).to_owned())))
        .collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{
            "scope": {"name": "adit"},
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }]})
}

fn span(span: &Span) -> Value {
    let attributes: Vec<Value> = span
        .attributes
        .iter()
        .map(|(name, value)| attribute(name, value))
        .collect();
    let mut object = json!({
        "traceId": hex(&span.trace.to_be_bytes()),
        "spanId": hex(&span.id.to_be_bytes()),
        "name": span.name,
        "kind": if span.name == "request" { SERVER } else { INTERNAL },
        "startTimeUnixNano": nanos(span.begun),
        "endTimeUnixNano": nanos(span.ended),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        object["parentSpanId"] = hex(&parent.to_be_bytes()).into();
    }
    object
}

fn attribute(name: &str, value: &Field) -> Value {
    let value = match value {
        Field::Text(text) => json!({"stringValue": text}),
        // Numbers of 64 bits are texts in protobuf's JSON.
        Field::Number(number) => json!({"intValue": number.to_string()}),
        Field::Truth(truth) => json!({"boolValue": truth}),
    };
    json!({"key": name, "value": value})
}

fn nanos(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos()
        .to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _infallible = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_span_is_written_as_the_protocol_has_it() {
        let begun = UNIX_EPOCH + Duration::from_nanos(1_795_000_000_000_000_001);
        let span = Span {
            trace: 0x0102,
            id: 0xff,
            parent: Some(1),
            name: "request",
            begun,
            ended: begun + Duration::from_nanos(5),
            is_sampled: true,
            attributes: vec![
                ("method", Field::Text("GET".to_owned())),
                ("status", Field::Number(200)),
            ],
        };
        let request = request(&[span]);
        let expected = json!({
            "traceId": "00000000000000000000000000000102",
            "spanId": "00000000000000ff",
            "parentSpanId": "0000000000000001",
            "name": "request",
            "kind": 2,
            "startTimeUnixNano": "1795000000000000001",
            "endTimeUnixNano": "1795000000000000006",
            "attributes": [
                {"key": "method", "value": {"stringValue": "GET"}},
                {"key": "status", "value": {"intValue": "200"}},
            ],
        });
        assert_eq!(request["resourceSpans"][0]["scopeSpans"][0]["spans"][0], expected);
        let resource = &request["resourceSpans"][0]["resource"]["attributes"][0];
        assert_eq!(
            resource,
            &json!({"key": "service.name", "value": {"stringValue": "adit-hub"}})
        );
    }
}
