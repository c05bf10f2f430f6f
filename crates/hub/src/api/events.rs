//! `/leases/{id}/events` and `/leases/{id}/traffic`: what happens with a lease, so far and from now on.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use launch::{LeaseId, State as LeaseState, launcher::Refusal};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep_until},
};
use tracing::{Instrument as _, Span};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::{LeasePath, Query, Who},
    streams::Place,
    words::{Lease, LeaseParams, Notice, NoticeList, Traffic},
};
use crate::{App, problem::Problem};

/// After so long a stream ends, and its client comes again: with a sign-in that is still good.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// How often it is looked whether the sign-in is still good.
const LOOK: Duration = Duration::from_secs(30);

/// How soon a client comes again.
const RETRY: Duration = Duration::from_secs(2);

/// How often something is sent if nothing happens, so that no proxy takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(events)).routes(routes!(traffic))
}

/// Follows a lease's events
///
/// Where `Accept` names text/event-stream, a stream: each event of the lease's history under its kind, its number as id and a
/// `Notice` as data; beside them `lease` with the `Lease` as data whenever it has changed, and `end` when nothing of it is left.
/// A client that comes again with the header `Last-Event-ID` gets what it has missed; 204 says that there is no more to come. Otherwise
/// the history so far, as JSON.
#[utoipa::path(
    get,
    path = "/leases/{id}/events",
    operation_id = "follow_lease",
    tag = "events",
    params(
        LeaseParams,
        ("after" = Option<u64>, Query, minimum = 0, maximum = 9_007_199_254_740_991_u64,
            description = "Only events with a greater number."),
    ),
    responses(
        (status = 200, description = "The history so far, or a stream.", content(
            (NoticeList = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 204, description = "A stream has ended, and nothing more is to come."),
    ),
)]
async fn events(
    State(app): State<Arc<App>>,
    who: Who,
    LeasePath(id): LeasePath,
    headers: HeaderMap,
    mut query: Query,
) -> Result<Response, Problem> {
    who.may_read()?;
    let after = query.number("after", 0)?;
    query.end()?;
    let seen = last_event_id(&headers)?;
    let after: u64 = seen.or(after).unwrap_or_default();
    if !wants_stream(&headers) {
        let notices = app.launcher.notices(&who.caller, id, after).await?;
        let items = notices.into_iter().map(Notice::from).collect();
        return Ok(Json(NoticeList { items }).into_response());
    }
    let place = app.streams.take(&who.identity.subject)?;
    let mut follow = Follow {
        changes: app.launcher.changes(),
        stop: app.stopping.subscribe(),
        ends_at: Instant::now() + LONGEST,
        look_at: Instant::now() + LOOK,
        queue: VecDeque::new(),
        span: Span::current(),
        shown: None,
        is_over: false,
        _place: place,
        app,
        who,
        id,
        after,
    };
    follow.look().await?;
    let has_news = follow.queue.len() > usize::from(follow.is_over) + 1;
    if follow.is_over && seen.is_some() && !has_news {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(follow.stream()).keep_alive(keep_alive).into_response();
    // Proxies of nginx' kind would gather events.
    response
        .headers_mut()
        .insert("x-accel-buffering", header::HeaderValue::from_static("no"));
    Ok(response)
}

/// Reads the traffic of the last half hour
///
/// None is kept of a lease that is over.
#[utoipa::path(
    get,
    path = "/leases/{id}/traffic",
    operation_id = "read_traffic",
    tag = "events",
    params(LeaseParams),
    responses((status = 200, description = "Samples, some seconds apart.", body = Traffic)),
)]
async fn traffic(State(app): State<Arc<App>>, who: Who, LeasePath(id): LeasePath) -> Result<Json<Traffic>, Problem> {
    who.may_read()?;
    let samples = app.launcher.traffic(&who.caller, id).await?;
    let samples = samples.into_iter().map(Into::into).collect();
    Ok(Json(Traffic { samples }))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| Problem::invalid("Last-Event-ID", "is not the number of an event"))
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let lines = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .filter_map(|media| media.split(';').next())
        .any(|media| media.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Waits until the hub is about to end.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _gone_is_stopped = stop.wait_for(|is_stopping| *is_stopping).await;
}

/// A client that follows a lease.
struct Follow {
    app: Arc<App>,
    who: Who,
    id: LeaseId,
    /// The number of the latest event that was sent.
    after: u64,
    changes: broadcast::Receiver<LeaseId>,
    stop: watch::Receiver<bool>,
    ends_at: Instant,
    /// When it is looked next whether the sign-in is still good.
    look_at: Instant,
    /// What is to be sent.
    queue: VecDeque<Event>,
    /// The request's, which the answer outlives.
    span: Span,
    /// The lease as it was sent last.
    shown: Option<Lease>,
    is_over: bool,
    _place: Place,
}

impl Follow {
    fn stream(self) -> impl Stream<Item = Result<Event, Infallible>> {
        stream::unfold(self, |mut follow| {
            let span = follow.span.clone();
            let next = async move {
                loop {
                    if let Some(event) = follow.queue.pop_front() {
                        return Some((Ok(event), follow));
                    }
                    if follow.is_over || !follow.wait().await {
                        return None;
                    }
                    follow.look().await.ok()?;
                }
            };
            next.instrument(span)
        })
    }

    /// Waits for a change; false if nothing more is to be sent.
    async fn wait(&mut self) -> bool {
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return false,
                () = sleep_until(self.ends_at) => return false,
                () = sleep_until(self.look_at) => {
                    if !self.app.sign_in.is_current(&self.who.identity).await {
                        return false;
                    }
                    self.look_at = Instant::now() + LOOK;
                }
                change = self.changes.recv() => match change {
                    Ok(id) if id == self.id => return true,
                    Ok(_) => {}
                    // Whoever was too slow looks at what there is.
                    Err(broadcast::error::RecvError::Lagged(_)) => return true,
                    Err(broadcast::error::RecvError::Closed) => return false,
                },
            }
        }
    }

    /// Gathers what the client has not seen. The lease first: what has led to it is then in its history.
    async fn look(&mut self) -> Result<(), Refusal> {
        let lease = self.app.launcher.read(&self.who.caller, self.id).await?;
        let notices = self.app.launcher.notices(&self.who.caller, self.id, self.after).await?;
        for notice in notices {
            let notice = Notice::from(notice);
            self.after = notice.number;
            let event = Event::default()
                .event(notice.kind.as_str())
                .id(notice.number.to_string());
            self.queue.extend(event.retry(RETRY).json_data(&notice).ok());
        }
        let lease = Lease::from(lease);
        if self.shown.as_ref() != Some(&lease) {
            self.queue
                .extend(Event::default().event("lease").json_data(&lease).ok());
        }
        if lease.state == LeaseState::Removed {
            self.is_over = true;
            self.queue.push_back(Event::default().event("end").data("removed"));
        }
        self.shown = Some(lease);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_for_those_who_ask_for_one() {
        for (accept, expected) in [
            (None, false),
            (Some("*/*"), false),
            (Some("application/json"), false),
            (Some("text/event-stream"), true),
            (Some("application/json;q=0.5, Text/Event-Stream;q=0.9"), true),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(wants_stream(&headers), expected, "{accept:?}");
        }
    }
}
