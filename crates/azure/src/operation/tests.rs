//! Operations played through, in every way that Azure has them followed.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const HOST: &str = "https://management.azure.com";
const MACHINE: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm";
const STATUS: &str = "https://management.azure.com/subscriptions/s/operations/1?t=1&s=signed";
const RESULT: &str = "https://management.azure.com/subscriptions/s/results/1&monitor=true&api-version=1";
const FOREIGN: &str = "https://management.azure.com.example.org/operations/1";

fn cloud() -> Cloud {
    Cloud::default()
}

fn request(method: Method) -> Request {
    let path = Path::try_from(MACHINE.to_owned()).unwrap();
    Request::new(method, path, "2024-11-01").with_query("forceDeletion", "true")
}

fn answer(status: u16, body: Value) -> Answer {
    Answer {
        status,
        body,
        ..Answer::default()
    }
}

/// An answer with `Azure-AsyncOperation`, `Location`, and a body.
fn headed(status: u16, operation: Option<&str>, location: Option<&str>, body: Value) -> Answer {
    Answer {
        async_operation: operation.map(str::to_owned),
        location: location.map(str::to_owned),
        ..answer(status, body)
    }
}

fn state(word: &str) -> Value {
    json!({"id": MACHINE, "properties": {"provisioningState": word}})
}

fn refusal(status: u16, code: &str) -> Box<ServiceError> {
    let body = json!({"error": {"code": code, "message": "m"}}).to_string();
    Box::new(ServiceError::read(
        status,
        if code.is_empty() { b"" } else { body.as_bytes() },
        None,
    ))
}

/// Where a question goes.
fn asked(progress: &Progress) -> String {
    let Progress::Running(operation, _) = progress else {
        panic!("it does not go on: {progress:?}")
    };
    match operation.next() {
        Question::Url(url) => url.to_string(),
        Question::Request(request) => {
            assert_eq!(request.method, Method::Get);
            request.url(&cloud()).to_string()
        }
    }
}

/// Tells the operation what came. Before that it was kept and read again, as by a restart.
fn tell(progress: Progress, heard: Result<&Answer, &ServiceError>) -> Result<Progress, (Operation, Box<ServiceError>)> {
    let Progress::Running(operation, _) = progress else {
        panic!("it does not go on: {progress:?}")
    };
    let kept = serde_json::to_string(&operation).unwrap();
    let again: Operation = serde_json::from_str(&kept).unwrap();
    assert_eq!(again, operation);
    assert!(again.is_of(&cloud()));
    again.handle(heard, &cloud())
}

fn resource() -> String {
    format!("{HOST}{MACHINE}?api-version=2024-11-01")
}

#[test]
fn the_way_is_chosen_by_the_headers_in_their_order() {
    let (put, delete, post) = (Method::Put, Method::Delete, Method::Post);
    let creating = || state("Creating");
    // (method, the first answer, what is asked next)
    for (method, first, next) in [
        (
            put,
            headed(201, Some(STATUS), Some(RESULT), creating()),
            STATUS.to_owned(),
        ),
        (put, headed(200, Some(STATUS), None, creating()), STATUS.to_owned()),
        (put, headed(202, None, Some(RESULT), Value::Null), RESULT.to_owned()),
        (put, headed(201, None, Some(RESULT), creating()), RESULT.to_owned()),
        (put, answer(201, creating()), resource()),
        (put, answer(200, state("Updating")), resource()),
        (put, answer(202, Value::Null), resource()),
        (Method::Patch, answer(200, state("Updating")), resource()),
        (
            delete,
            headed(202, Some(STATUS), Some(RESULT), Value::Null),
            STATUS.to_owned(),
        ),
        (delete, headed(202, None, Some(RESULT), Value::Null), RESULT.to_owned()),
        (delete, answer(202, Value::Null), resource()),
        (
            post,
            headed(202, Some(STATUS), Some(RESULT), Value::Null),
            STATUS.to_owned(),
        ),
        (post, headed(202, None, Some(RESULT), Value::Null), RESULT.to_owned()),
        // A host of another is never asked.
        (put, headed(201, Some(FOREIGN), None, creating()), resource()),
        (
            put,
            headed(201, Some(FOREIGN), Some(RESULT), creating()),
            RESULT.to_owned(),
        ),
        (
            put,
            headed(202, None, Some("http://management.azure.com/x"), Value::Null),
            resource(),
        ),
        (
            delete,
            headed(202, Some(FOREIGN), Some(FOREIGN), Value::Null),
            resource(),
        ),
        (
            post,
            headed(202, Some(FOREIGN), Some(RESULT), Value::Null),
            RESULT.to_owned(),
        ),
        // Without a host it is this one.
        (
            delete,
            headed(202, None, Some("/operations/1?x=1"), Value::Null),
            format!("{HOST}/operations/1?x=1"),
        ),
    ] {
        let progress = Operation::begin(&request(method), &first, &cloud());
        assert_eq!(asked(&progress), next, "{method:?} {first:?}");
    }
}

#[test]
fn what_is_complete_at_once_is_not_followed() {
    // (method, the first answer, what it comes to)
    for (method, first, done) in [
        (Method::Put, answer(200, state("Succeeded")), Some(state("Succeeded"))),
        (
            Method::Put,
            answer(201, json!({"location": "x"})),
            Some(json!({"location": "x"})),
        ),
        (
            Method::Put,
            headed(200, None, Some(RESULT), state("Succeeded")),
            Some(state("Succeeded")),
        ),
        (Method::Delete, answer(200, Value::Null), Some(Value::Null)),
        (Method::Delete, answer(204, Value::Null), Some(Value::Null)),
        (Method::Delete, answer(200, state("Succeeded")), Some(Value::Null)),
        (
            Method::Post,
            answer(200, json!({"value": []})),
            Some(json!({"value": []})),
        ),
        (Method::Get, answer(200, state("Creating")), Some(state("Creating"))),
        (Method::Post, answer(202, Value::Null), None),
        (
            Method::Post,
            headed(202, Some(FOREIGN), Some(FOREIGN), Value::Null),
            None,
        ),
    ] {
        let expected = done.map_or(Progress::Untold(Untold::Nowhere), Progress::Done);
        assert_eq!(
            Operation::begin(&request(method), &first, &cloud()),
            expected,
            "{method:?} {first:?}"
        );
    }
    let failed = Operation::begin(&request(Method::Put), &answer(200, state("Failed")), &cloud());
    assert!(matches!(failed, Progress::Failed(error) if error.code == "Failed"));
}

#[test]
fn an_operation_ends_with_the_right_result() {
    enum End {
        Done(Value),
        Failed(&'static str),
        Untold,
    }
    use End::{Done, Failed, Untold};
    let put = || headed(201, Some(STATUS), Some(RESULT), state("Creating"));
    let accepted = |operation, location| headed(202, operation, location, Value::Null);
    let status = |word: &str| Ok(answer(200, json!({ "status": word })));
    let lost = || refusal(404, "NotFound");
    let output = || json!({"value": [{"code": "ProvisioningState/succeeded"}]});
    let (m, s, r) = (resource(), STATUS.to_owned(), RESULT.to_owned());
    type Heard = Result<Answer, Box<ServiceError>>;
    type Script<'s> = (Method, Answer, Vec<(&'s String, Heard)>, End);
    let scripts: Vec<Script<'_>> = vec![
        // Azure-AsyncOperation, and for a PUT the resource behind it.
        (
            Method::Put,
            put(),
            vec![
                (&s, status("InProgress")),
                (&s, status("Succeeded")),
                (&m, Ok(answer(200, state("Succeeded")))),
            ],
            Done(state("Succeeded")),
        ),
        (
            Method::Put,
            put(),
            vec![(
                &s,
                Ok(answer(
                    200,
                    json!({"status": "Failed", "error": {"code": "Conflict", "message": "see", "details": [{"code": "AllocationFailed", "message": "full"}]}}),
                )),
            )],
            Failed("AllocationFailed"),
        ),
        (Method::Put, put(), vec![(&s, status("Canceled"))], Failed("Canceled")),
        // It is known no more: the resource tells.
        (
            Method::Put,
            put(),
            vec![
                (&s, status("InProgress")),
                (&s, Err(lost())),
                (&m, Ok(answer(200, state("Creating")))),
                (&m, Ok(answer(200, state("Succeeded")))),
            ],
            Done(state("Succeeded")),
        ),
        (
            Method::Put,
            put(),
            vec![(&s, Err(lost())), (&m, Ok(answer(200, state("Failed"))))],
            Failed("Failed"),
        ),
        (
            Method::Put,
            put(),
            vec![(&s, Err(refusal(410, ""))), (&m, Err(refusal(404, "ResourceNotFound")))],
            Failed("ResourceNotFound"),
        ),
        (
            Method::Put,
            put(),
            vec![
                (&s, Ok(answer(204, Value::Null))),
                (&m, Ok(answer(200, json!({"id": "x"})))),
            ],
            Done(json!({"id": "x"})),
        ),
        // Location.
        (
            Method::Put,
            accepted(None, Some(RESULT)),
            vec![
                (&r, Ok(answer(202, Value::Null))),
                (&r, Ok(answer(200, state("Creating")))),
                (&r, Ok(answer(200, state("Succeeded")))),
            ],
            Done(state("Succeeded")),
        ),
        (
            Method::Put,
            accepted(None, Some(RESULT)),
            vec![
                (&r, Ok(answer(204, Value::Null))),
                (&m, Ok(answer(200, state("Succeeded")))),
            ],
            Done(state("Succeeded")),
        ),
        (
            Method::Put,
            accepted(None, Some(RESULT)),
            vec![(&r, Err(refusal(409, "SkuNotAvailable")))],
            Failed("SkuNotAvailable"),
        ),
        (
            Method::Put,
            accepted(None, Some(RESULT)),
            vec![(&r, Err(lost())), (&m, Ok(answer(200, state("Succeeded"))))],
            Done(state("Succeeded")),
        ),
        (
            Method::Delete,
            accepted(None, Some(RESULT)),
            vec![(&r, Ok(answer(202, Value::Null))), (&r, Ok(answer(204, Value::Null)))],
            Done(Value::Null),
        ),
        // A new URL takes the place of the old one.
        (
            Method::Delete,
            accepted(None, Some(RESULT)),
            vec![
                (&r, Ok(headed(202, None, Some(STATUS), Value::Null))),
                (&s, Ok(headed(202, None, Some(FOREIGN), Value::Null))),
                (&s, Ok(answer(200, Value::Null))),
            ],
            Done(Value::Null),
        ),
        // The resource.
        (
            Method::Put,
            answer(201, state("Creating")),
            vec![
                (&m, Ok(answer(200, state("Updating")))),
                (&m, Ok(answer(200, json!({"properties": {}})))),
            ],
            Done(json!({"properties": {}})),
        ),
        // What is removed is removed when it is not there, whatever was said of it before.
        (
            Method::Delete,
            accepted(None, None),
            vec![
                (&m, Ok(answer(200, state("Succeeded")))),
                (&m, Ok(answer(200, state("Deleting")))),
                (&m, Err(refusal(404, "ResourceNotFound"))),
            ],
            Done(Value::Null),
        ),
        (
            Method::Delete,
            accepted(Some(STATUS), Some(RESULT)),
            vec![(&s, status("Succeeded"))],
            Done(Value::Null),
        ),
        (
            Method::Delete,
            accepted(Some(STATUS), None),
            vec![(&s, Err(lost())), (&m, Err(refusal(404, "ResourceGroupNotFound")))],
            Done(Value::Null),
        ),
        // An action: its result is at Location, else with its status.
        (
            Method::Post,
            accepted(Some(STATUS), Some(RESULT)),
            vec![
                (&s, status("Succeeded")),
                (&r, Ok(answer(202, Value::Null))),
                (&r, Ok(answer(200, output()))),
            ],
            Done(output()),
        ),
        (
            Method::Post,
            accepted(None, Some(RESULT)),
            vec![(&r, Ok(answer(202, Value::Null))), (&r, Ok(answer(200, output())))],
            Done(output()),
        ),
        (
            Method::Post,
            accepted(Some(STATUS), None),
            vec![(
                &s,
                Ok(answer(
                    200,
                    json!({"status": "Succeeded", "properties": {"output": output()}}),
                )),
            )],
            Done(output()),
        ),
        (
            Method::Post,
            accepted(Some(STATUS), Some(RESULT)),
            vec![(&s, Err(lost())), (&r, Ok(answer(200, output())))],
            Done(output()),
        ),
        (
            Method::Post,
            accepted(Some(STATUS), None),
            vec![(&s, Err(lost()))],
            Untold,
        ),
        (
            Method::Post,
            accepted(None, Some(RESULT)),
            vec![(&r, Err(lost()))],
            Untold,
        ),
    ];
    for (at, (method, first, heard, end)) in scripts.into_iter().enumerate() {
        let mut progress = Operation::begin(&request(method), &first, &cloud());
        for (question, heard) in heard {
            assert_eq!(&asked(&progress), question, "script {at}");
            progress = tell(progress, heard.as_ref().map_err(|error| &**error)).unwrap();
        }
        match end {
            Done(result) => assert_eq!(progress, Progress::Done(result), "script {at}"),
            Failed(code) => {
                assert!(
                    matches!(&progress, Progress::Failed(error) if error.cause().0 == code),
                    "script {at}: {progress:?}"
                );
            }
            Untold => assert_eq!(progress, Progress::Untold(super::Untold::Forgotten), "script {at}"),
        }
    }
}

#[test]
fn an_error_in_reading_is_no_error_of_the_operation() {
    let by_status = || headed(201, Some(STATUS), None, state("Creating"));
    let by_location = || headed(202, None, Some(RESULT), Value::Null);
    let by_resource = || answer(201, state("Creating"));
    // (the first answer, what came of the question)
    for (first, error) in [
        (by_status(), refusal(400, "BadRequest")),
        (by_status(), refusal(401, "ExpiredAuthenticationToken")),
        (by_status(), refusal(403, "AuthorizationFailed")),
        (by_status(), refusal(409, "Conflict")),
        (by_status(), refusal(429, "TooManyRequests")),
        (by_status(), refusal(500, "InternalServerError")),
        (by_location(), refusal(401, "ExpiredAuthenticationToken")),
        (by_location(), refusal(403, "AuthorizationFailed")),
        (by_location(), refusal(429, "")),
        (by_location(), refusal(503, "ServiceUnavailable")),
        (by_location(), refusal(409, "AnotherOperationInProgress")),
        (by_location(), refusal(400, "")),
        (by_resource(), refusal(403, "AuthorizationFailed")),
        (by_resource(), refusal(503, "")),
        // A page of something between here and Azure.
        (by_resource(), Box::new(ServiceError::read(404, b"<html></html>", None))),
        (by_resource(), refusal(404, "SubscriptionNotFound")),
    ] {
        let progress = Operation::begin(&request(Method::Put), &first, &cloud());
        let question = asked(&progress);
        let (operation, told) = tell(progress, Err(&error)).unwrap_err();
        assert_eq!(told, error);
        assert_eq!(
            asked(&Progress::Running(operation, Duration::ZERO)),
            question,
            "{error}"
        );
    }
    let odd = answer(200, json!({"name": "x"}));
    let by_action = headed(202, Some(STATUS), None, Value::Null);
    let progress = Operation::begin(&request(Method::Post), &by_action, &cloud());
    let page = ServiceError::read(404, b"<html></html>", None);
    assert!(tell(progress.clone(), Err(&page)).is_err(), "who says so is not Azure");
    let (_, told) = tell(progress, Ok(&odd)).unwrap_err();
    assert!(told.to_string().contains("no status"), "{told}");
}

#[test]
fn waits_follow_the_service_within_bounds_and_grow_without_it() {
    let running = |secs: Option<u64>| Answer {
        retry_after: secs.map(Duration::from_secs),
        ..headed(202, None, Some(RESULT), Value::Null)
    };
    // (Retry-After, wait), seconds.
    for (asked, wait) in [(0, 1), (1, 1), (17, 17), (600, 600), (601, 600), (u64::MAX, 600)] {
        let progress = Operation::begin(&request(Method::Delete), &running(Some(asked)), &cloud());
        assert!(
            matches!(progress, Progress::Running(_, found) if found == Duration::from_secs(wait)),
            "{asked}"
        );
    }
    let mut progress = Operation::begin(&request(Method::Delete), &running(None), &cloud());
    let mut waits = Vec::new();
    for _ in 0..10 {
        let Progress::Running(operation, wait) = progress else {
            panic!("it goes on")
        };
        waits.push(wait.as_secs());
        progress = operation.handle(Ok(&running(None)), &cloud()).unwrap();
    }
    assert_eq!(waits, [1, 1, 1, 2, 4, 8, 16, 32, 32, 32]);
}

#[test]
fn what_was_kept_for_another_cloud_is_seen() {
    let first = headed(202, Some(STATUS), Some(RESULT), Value::Null);
    let Progress::Running(operation, _) = Operation::begin(&request(Method::Post), &first, &cloud()) else {
        panic!("it goes on")
    };
    assert!(operation.is_of(&cloud()));
    assert!(!operation.is_of(&Cloud::china()));
}

#[test]
fn no_signature_is_in_debug() {
    let first = headed(201, Some(STATUS), None, state("Creating"));
    let progress = Operation::begin(&request(Method::Put), &first, &cloud());
    assert!(!format!("{progress:?}").contains("signed"));
}

#[test]
fn a_poll_url_of_four_kilobytes_is_kept_as_it_is() {
    let long = format!("{HOST}/operations/1?s={}", "a%2Fb".repeat(1_000));
    let progress = Operation::begin(
        &request(Method::Put),
        &headed(201, Some(&long), None, Value::Null),
        &cloud(),
    );
    assert_eq!(asked(&progress), long);
}

proptest! {
    /// Whatever is answered: only this cloud is asked, and each answer leads on, to an end, or to nothing.
    #[test]
    fn no_answer_leads_elsewhere(
        method in prop_oneof![Just(Method::Put), Just(Method::Delete), Just(Method::Post), Just(Method::Patch)],
        script in proptest::collection::vec((
            prop_oneof![Just(200_u16), Just(201), Just(202), Just(204), Just(404), Just(409), Just(500)],
            proptest::option::of("https://(management\\.azure\\.com|[a-z.@:0-9]{1,20})/[a-z?=&]{0,10}|[/\\\\a-z@:.]{0,20}"),
            proptest::option::of("https://(management\\.azure\\.com|[a-z.@:0-9]{1,20})/[a-z?=&]{0,10}"),
            prop_oneof![Just("InProgress"), Just("Succeeded"), Just("Failed"), Just("")],
        ), 1..8),
    ) {
        let mut heard = script.into_iter().map(|(status, operation, location, word)| {
            let body = json!({"status": word, "properties": {"provisioningState": word}});
            if status >= 400 {
                Err(refusal(status, word))
            } else {
                Ok(headed(status, operation.as_deref(), location.as_deref(), body))
            }
        });
        let Some(Ok(first)) = heard.next() else { return Ok(()) };
        let mut progress = Operation::begin(&request(method), &first, &cloud());
        for heard in heard {
            let Progress::Running(operation, wait) = progress else { break };
            prop_assert!(wait <= MAX_WAIT);
            if let Question::Url(url) = operation.next() {
                prop_assert!(cloud().owns(&url), "{}", url);
            }
            progress = match operation.handle(heard.as_ref().map_err(|error| &**error), &cloud()) {
                Ok(progress) => progress,
                Err((operation, _)) => Progress::Running(operation, Duration::ZERO),
            };
        }
    }
}
