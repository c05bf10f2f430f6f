//! What Azure answers: errors in any form, IDs, and operations that are led by answers, nowhere but to the cloud itself.
#![no_main]

use azure::operation::Question;
use azure::{Answer, Cloud, Method, Operation, Path, Progress, Request, ResourceId, ServiceError};
use libfuzzer_sys::fuzz_target;

fn error(status: u16, body: &[u8]) -> ServiceError {
    let error = ServiceError::read(status, body, None);
    let line = format!("{error}{}", error.remedy().unwrap_or_default());
    assert!(!line.contains(['\n', '\r']), "it would forge lines of a log");
    let _ = error.kind();
    error
}

/// An answer of a line: its status, and where it says that the operation is.
fn answer(line: &str) -> Answer {
    let (head, body) = line.split_once(' ').unwrap_or((line, ""));
    let mut head = head.split(',').map(str::to_owned);
    Answer {
        status: head.next().and_then(|status| status.parse().ok()).unwrap_or(200),
        async_operation: head.next(),
        location: head.next(),
        body: serde_json::from_str(body).unwrap_or_default(),
        ..Answer::default()
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else {
        return;
    };
    error(u16::from(*first) * 3, rest);
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if let Ok(id) = text.parse::<ResourceId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    let cloud = Cloud::default();
    let path = Path::new(&["subscriptions", "s", "resourcegroups", "rg"]).expect("these are names");
    let method = [Method::Put, Method::Delete, Method::Post][usize::from(*first) % 3];
    let mut lines = text.lines().map(answer);
    let Some(begun) = lines.next() else { return };
    let mut progress = Operation::begin(&Request::new(method, path, "2025-04-01"), &begun, &cloud);
    for answer in lines {
        let Progress::Running(operation, _) = progress else {
            return;
        };
        if let Question::Url(url) = operation.next() {
            assert!(cloud.owns(&url), "{url}");
        }
        let kept = serde_json::to_vec(&operation).expect("an operation can be kept");
        assert_eq!(
            serde_json::from_slice::<Operation>(&kept).ok().as_ref(),
            Some(&operation)
        );
        let refused = (answer.status >= 400).then(|| error(answer.status, answer.body.to_string().as_bytes()));
        progress = match operation.handle(refused.as_ref().map_or(Ok(&answer), Err), &cloud) {
            Ok(progress) => progress,
            Err((operation, _)) => Progress::Running(operation, Default::default()),
        };
    }
});
