//! Which of the three ways an operation is followed by.

use reqwest::Url;
use serde_json::Value;

use super::{Operation, Progress, Purpose, Resource, Stage, State, Untold, failed};
use crate::{Answer, Cloud, Method, Request};

/// `Azure-AsyncOperation` first, `Location` only without it, else the resource.
pub(super) fn begin(request: &Request, answer: &Answer, cloud: &Cloud) -> Progress {
    let purpose = match request.method {
        Method::Put | Method::Patch => Purpose::Make,
        Method::Delete => Purpose::Remove,
        Method::Post => Purpose::Act,
        Method::Get | Method::Head => return Progress::Done(answer.body.clone()),
    };
    let resource = (purpose != Purpose::Act).then(|| Resource {
        path: request.path.clone(),
        api_version: request.api_version.clone(),
    });
    let status = owned(answer.async_operation.as_deref(), cloud);
    let location = owned(answer.location.as_deref(), cloud);
    // Both are only for what goes on: an answer that is complete may name where the resource is.
    let goes_on = answer.status == 202 || answer.status == 201 && purpose == Purpose::Make;
    let state = State::of_resource(&answer.body);
    let stage = match (status, &location) {
        (Some(url), _) => Stage::Status(url),
        (None, Some(url)) if goes_on || state == Some(State::Running) => Stage::Location(url.clone()),
        (None, _) => match (purpose, state) {
            (Purpose::Make, Some(State::Ended(end))) => return failed(&end, answer),
            (Purpose::Make, Some(State::Running)) => Stage::Resource,
            (Purpose::Make, None) if answer.status == 202 => Stage::Resource,
            (Purpose::Make, Some(State::Succeeded) | None) => return Progress::Done(answer.body.clone()),
            (Purpose::Remove, _) if answer.status == 202 => Stage::Resource,
            (Purpose::Remove, _) => return Progress::Done(Value::Null),
            (Purpose::Act, _) if answer.status == 202 => return Progress::Untold(Untold::Nowhere),
            (Purpose::Act, _) => return Progress::Done(answer.body.clone()),
        },
    };
    let operation = Operation {
        stage,
        purpose,
        resource,
        result: location.filter(|_| purpose == Purpose::Act),
        polls: 0,
    };
    operation.running(answer)
}

/// A URL that may be asked with a token of this cloud: it is the cloud's own. Another is as none.
pub(super) fn owned(url: Option<&str>, cloud: &Cloud) -> Option<String> {
    let url = url?;
    let parsed = cloud.management().join(url).ok()?;
    if !cloud.owns(&parsed) {
        tracing::warn!(
            host = parsed.host_str(),
            "azure names a host of another for its operation: not asked"
        );
        return None;
    }
    // As it came; what has no host is completed.
    Some(if Url::parse(url).is_ok() {
        url.to_owned()
    } else {
        parsed.into()
    })
}
