//! Custom metrics: what takes them for a resource, and judges their form.
//!
//! Sources: *Azure Monitor: ingest custom metrics by the REST API; custom metrics, quotas and limits*. The codes of refusals
//! are a guess.

use serde_json::Value;

use super::fault::Refusal;
use super::request::{Answer, Request};
use super::{Shared, clock};

/// For whom a token has to be. The slash is part of it.
const AUDIENCE: &str = "https://monitoring.azure.com/";

/// What the role has to allow: *Monitoring Metrics Publisher* does.
const ACTION: &str = "microsoft.insights/metrics/write";

/// How old and how far ahead a time may be, in seconds.
const WINDOW: (i64, i64) = (20 * 60, 5 * 60);

/// Longest names and values, in characters.
const LONGEST: usize = 256;

/// `POST {resource}/metrics`.
pub(super) fn take(shared: &Shared, request: &Request) -> Result<Answer, Refusal> {
    let mut state = shared.state();
    let now = clock::now(state.skew);
    state.tokens.check_for(request, &shared.settings, now, &[AUDIENCE])?;
    let resource = request.path().trim_end_matches("/metrics").to_lowercase();
    if resource.split('/').count() < 8 || !resource.contains("/providers/") {
        return Err(invalid(
            "metrics belong to one resource, not to a group or a subscription",
        ));
    }
    if !state.allows(ACTION, &resource) {
        let message = format!("The client does not have permission to write metrics of '{resource}'.");
        return Err(Refusal::new(403, "Forbidden", message));
    }
    if !request.header("content-type").starts_with("application/json") {
        return Err(Refusal::new(415, "UnsupportedMediaType", "The body is no JSON."));
    }
    let body = serde_json::from_slice(&request.body).map_err(|error| invalid(&error.to_string()))?;
    judge(&body, now).map_err(|why| invalid(&why))?;
    state.metrics.push(body);
    Ok(Answer::new(200))
}

fn invalid(why: &str) -> Refusal {
    Refusal::new(400, "BadRequest", why)
}

fn judge(body: &Value, now: i64) -> Result<(), String> {
    members(body, &["time", "data"])?;
    time(body["time"].as_str().unwrap_or_default(), now)?;
    members(&body["data"], &["baseData"])?;
    let data = &body["data"]["baseData"];
    members(data, &["metric", "namespace", "dimNames", "series"])?;
    for name in ["metric", "namespace"] {
        text(&data[name])?;
        if data[name].as_str().is_some_and(|name| name.contains(' ')) {
            return Err(format!("{name} contains a space"));
        }
    }
    let dimensions = texts(&data["dimNames"])?;
    if dimensions > 10 {
        return Err("more than 10 dimensions".to_owned());
    }
    let series = data["series"].as_array().filter(|series| !series.is_empty());
    for series in series.ok_or("there is no series")? {
        members(series, &["dimValues", "min", "max", "sum", "count"])?;
        if texts(&series["dimValues"])? != dimensions {
            return Err("the number of values is not that of the dimensions".to_owned());
        }
        let number = |name: &str| series[name].as_f64().ok_or(format!("{name} is no number"));
        let count = series["count"]
            .as_u64()
            .filter(|count| *count > 0)
            .ok_or("count is no count")?;
        let (min, max, sum) = (number("min")?, number("max")?, number("sum")?);
        if min > max || (count == 1 && (min != max || max != sum)) {
            return Err("min, max and sum contradict each other".to_owned());
        }
    }
    Ok(())
}

/// Exactly these.
fn members(value: &Value, names: &[&str]) -> Result<(), String> {
    let object = value.as_object().ok_or(format!("{names:?} are not there"))?;
    match object.keys().find(|key| !names.contains(&key.as_str())) {
        Some(key) => Err(format!("{key} is not known")),
        None if object.len() < names.len() => Err(format!("not all of {names:?} are there")),
        None => Ok(()),
    }
}

fn text(value: &Value) -> Result<(), String> {
    let length = value.as_str().map_or(0, |text| text.chars().count());
    if (1..=LONGEST).contains(&length) {
        Ok(())
    } else {
        Err(format!("{value} has not 1 to {LONGEST} characters"))
    }
}

fn texts(value: &Value) -> Result<usize, String> {
    let texts = value.as_array().ok_or(format!("{value} is no list"))?;
    texts.iter().try_for_each(text)?;
    Ok(texts.len())
}

/// ISO 8601, here in UTC, to the second at least: such times compare as text.
fn time(time: &str, now: i64) -> Result<(), String> {
    let seconds = |at: i64| clock::rfc3339(at)[..19].to_owned();
    let (past, ahead) = WINDOW;
    match time.get(..19).filter(|_| time.ends_with('Z')) {
        None => Err(format!("`{time}` is no time in UTC")),
        Some(found) if *found < *seconds(now - past) => Err(format!("{time} is more than 20 minutes ago")),
        Some(found) if *found > *seconds(now + ahead) => Err(format!("{time} is more than 5 minutes ahead")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_documentation_does_not_show_is_refused() {
        let now = 1_795_824_000;
        let good = json!({
            "time": "2026-11-27T23:59:00Z",
            "data": { "baseData": {
                "metric": "Sessions", "namespace": "adit", "dimNames": ["Place"],
                "series": [{ "dimValues": ["docker"], "min": 1, "max": 1, "sum": 1, "count": 1 }],
            } },
        });
        assert_eq!(judge(&good, now), Ok(()));
        // (where, what stands there instead, words of the refusal)
        for (pointer, value, says) in [
            ("/time", json!("2026-11-27T23:39:59Z"), "20 minutes ago"),
            ("/time", json!("2026-11-28T00:05:01Z"), "5 minutes ahead"),
            ("/time", json!(1_795_824_000), "no time"),
            ("/data/baseData/metric", json!("Active sessions"), "space"),
            ("/data/baseData/metric", json!(""), "characters"),
            (
                "/data/baseData/dimNames",
                json!(["Place", "Region"]),
                "number of values",
            ),
            ("/data/baseData/series", json!([]), "no series"),
            ("/data/baseData/series/0/count", json!(0), "count"),
            ("/data/baseData/series/0/sum", json!("1"), "no number"),
            ("/data/baseData/series/0/max", json!(0), "contradict"),
            (
                "/data/baseData/series/0/dimValues/0",
                json!("x".repeat(257)),
                "characters",
            ),
            (
                "/data",
                json!({ "baseData": good["data"]["baseData"], "x": 1 }),
                "not known",
            ),
        ] {
            let mut body = good.clone();
            *body.pointer_mut(pointer).unwrap() = value;
            let refusal = judge(&body, now).unwrap_err();
            assert!(refusal.contains(says), "{pointer}: {refusal}");
        }
    }
}
