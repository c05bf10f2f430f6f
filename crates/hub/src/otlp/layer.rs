//! Notes spans as they begin, record and end.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use tokio::sync::mpsc;
use tracing::{
    Subscriber,
    field::{self, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use super::encode::{Field, Span};
use crate::trace_context::random_bytes;

/// Longest value that is sent, in characters.
const LONGEST: usize = 1_000;

/// A layer that hands spans on to be sent.
#[derive(Debug)]
pub struct Exporter {
    sender: mpsc::Sender<Span>,
    /// Spans that were dropped because too many waited.
    lost: Arc<AtomicU64>,
}

impl Exporter {
    pub(super) fn new(sender: mpsc::Sender<Span>, lost: Arc<AtomicU64>) -> Self {
        Self { sender, lost }
    }
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for Exporter {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        // (its trace, its id, whether it is sent), if the one around it is noted.
        let around = |span: SpanRef<'_, S>| {
            let extensions = span.extensions();
            extensions
                .get::<Span>()
                .map(|noted| (noted.trace, noted.id, noted.is_sampled))
        };
        let parent = span.parent().and_then(around);
        let now = SystemTime::now();
        let mut noted = Span {
            trace: parent.map_or_else(|| u128::from_be_bytes(random_bytes()), |(trace, ..)| trace),
            id: u64::from_be_bytes(random_bytes()),
            parent: parent.map(|(_, id, _)| id),
            name: span.name(),
            begun: now,
            ended: now,
            attributes: Vec::new(),
            is_sampled: parent.is_none_or(|(.., is_sampled)| is_sampled),
        };
        attributes.record(&mut Fields(&mut noted));
        span.extensions_mut().insert(noted);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(noted) = span.extensions_mut().get_mut::<Span>() {
            values.record(&mut Fields(noted));
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(noted) = context
            .span(&id)
            .and_then(|span| span.extensions_mut().remove::<Span>())
        else {
            return;
        };
        let ended = Span {
            ended: SystemTime::now(),
            ..noted
        };
        if ended.is_sampled && self.sender.try_send(ended).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Takes what is recorded. What says where in which trace the span is, is no attribute of it.
struct Fields<'a>(&'a mut Span);

impl Fields<'_> {
    fn set(&mut self, field: &field::Field, value: Field) {
        let name = field.name();
        let attributes = &mut self.0.attributes;
        match attributes.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => attributes.push((name, value)),
        }
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &field::Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &field::Field, value: &str) {
        let id = || u64::from_str_radix(value, 16).ok();
        match field.name() {
            "trace_id" => self.0.trace = u128::from_str_radix(value, 16).unwrap_or(self.0.trace),
            "span_id" => self.0.id = id().unwrap_or(self.0.id),
            "parent_span_id" => self.0.parent = id(),
            _ => self.set(field, Field::Text(value.chars().take(LONGEST).collect())),
        }
    }

    fn record_i64(&mut self, field: &field::Field, value: i64) {
        self.set(field, Field::Number(value));
    }

    fn record_u64(&mut self, field: &field::Field, value: u64) {
        self.set(field, Field::Number(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_bool(&mut self, field: &field::Field, value: bool) {
        match field.name() {
            "is_sampled" => self.0.is_sampled = value,
            _ => self.set(field, Field::Truth(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_span_that_is_over_is_handed_on_with_all_that_was_recorded() {
        let (sender, mut receiver) = mpsc::channel(2);
        let lost = Arc::new(AtomicU64::new(0));
        let exporter = Exporter::new(sender, Arc::clone(&lost));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(exporter), || {
            let outer = tracing::info_span!("request", method = "GET", status = field::Empty);
            let inner = outer.in_scope(|| tracing::info_span!("lease", lease = field::display("x")));
            drop(inner);
            outer.record("status", 200_u16);
            drop(outer);
            // Nobody takes any.
            drop(tracing::info_span!("request"));
        });
        let inner = receiver.try_recv().unwrap();
        let outer = receiver.try_recv().unwrap();
        assert_eq!(
            (inner.name, inner.trace, inner.parent),
            ("lease", outer.trace, Some(outer.id))
        );
        assert_eq!(inner.attributes, [("lease", Field::Text("x".to_owned()))]);
        assert_eq!(
            outer.attributes,
            [
                ("method", Field::Text("GET".to_owned())),
                ("status", Field::Number(200))
            ]
        );
        assert_eq!((outer.parent, lost.load(Ordering::Relaxed)), (None, 1));
    }

    #[test]
    fn a_span_is_of_the_trace_that_it_is_told_and_so_are_those_within() {
        let (sender, mut receiver) = mpsc::channel(9);
        let exporter = Exporter::new(sender, Arc::default());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(exporter), || {
            for is_sampled in [true, false] {
                let outer = tracing::info_span!(
                    "request",
                    trace_id = field::Empty,
                    span_id = field::Empty,
                    parent_span_id = field::Empty,
                    is_sampled = field::Empty,
                );
                outer.record("trace_id", "0af7651916cd43dd8448eb211c80319c");
                outer.record("span_id", "b7ad6b7169203331");
                outer.record("parent_span_id", "00f067aa0ba902b7");
                outer.record("is_sampled", is_sampled);
                drop(outer.in_scope(|| tracing::info_span!("lease")));
            }
        });
        let inner = receiver.try_recv().unwrap();
        let outer = receiver.try_recv().unwrap();
        let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
        let own = 0xb7ad_6b71_6920_3331;
        assert_eq!((inner.trace, inner.parent), (trace, Some(own)));
        assert_eq!(
            (outer.trace, outer.id, outer.parent),
            (trace, own, Some(0x00f0_67aa_0ba9_02b7))
        );
        assert_eq!(outer.attributes, []);
        assert!(receiver.try_recv().is_err(), "what is not sampled is not sent");
    }
}
