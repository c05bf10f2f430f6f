//! Which trace a request belongs to: the header `traceparent` (W3C Trace Context, level 1).
//!
//! What a caller says is taken up if it is as the standard has it, and of no account otherwise. It is handed on to whom this hub
//! asks for the request, and is in no answer. `tracestate` is others' own, and ends here.

use std::fmt;

use axum::http::{HeaderMap, HeaderName};

/// The header that carries it.
pub const HEADER: HeaderName = HeaderName::from_static("traceparent");

/// Length of what version 00 says.
const LENGTH: usize = 55;

/// A place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never 0.
    pub trace: u128,
    /// The span that asks; never 0.
    pub span: u64,
    /// Whether whoever began the trace records it.
    pub is_sampled: bool,
}

impl TraceContext {
    /// What a request says. Nothing, if it says it twice.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(HEADER).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.to_str().ok()?),
            (Some(_) | None, _) => None,
        }
    }

    /// Reads a header's value (section 3.2.2).
    pub fn parse(text: &str) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let mut parts = known.split('-');
        let (version, trace) = (hex(parts.next()?, 2)?, hex(parts.next()?, 32)?);
        let (span, flags) = (hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
        // A later version may say more behind another dash.
        let fits = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.is_empty() || more.starts_with('-'),
        };
        let context = Self {
            trace,
            span: u64::try_from(span).ok()?,
            is_sampled: flags & 1 == 1,
        };
        (fits && parts.next().is_none() && context.trace != 0 && context.span != 0).then_some(context)
    }

    /// The beginning of a trace.
    pub(crate) fn random() -> Self {
        Self {
            trace: u128::from_be_bytes(random_bytes()) | 1,
            span: u64::from_be_bytes(random_bytes()) | 1,
            is_sampled: true,
        }
    }

    /// Another span of the same trace.
    #[must_use]
    pub(crate) fn child(self) -> Self {
        Self {
            span: Self::random().span,
            ..self
        }
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{:032x}-{:016x}-{:02x}",
            self.trace,
            self.span,
            u8::from(self.is_sampled)
        )
    }
}

/// A number of so many lower-case digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_number = text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_number.then(|| u128::from_str_radix(text, 16).ok())?
}

/// Ids have to differ, and nothing else: where the system has no random numbers, they are all alike.
pub(crate) fn random_bytes<const LEN: usize>() -> [u8; LEN] {
    let mut bytes = [0; LEN];
    let _all_zero = getrandom::fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_the_standard_has_it_is_taken_and_nothing_else() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let span = "b7ad6b7169203331";
        let context = |is_sampled| {
            Some(TraceContext {
                trace: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
                span: 0xb7ad_6b71_6920_3331,
                is_sampled,
            })
        };
        for (text, expected) in [
            (format!("00-{trace}-{span}-01"), context(true)),
            (format!("00-{trace}-{span}-00"), context(false)),
            // Flags that are not known are let be.
            (format!("00-{trace}-{span}-ff"), context(true)),
            (format!("00-{trace}-{span}-02"), context(false)),
            // A later version is read as far as it is known.
            (format!("cc-{trace}-{span}-01"), context(true)),
            (format!("cc-{trace}-{span}-01-what-comes"), context(true)),
            (format!("cc-{trace}-{span}-01.what-comes"), None),
            (format!("cc-{trace}-{span}-012"), None),
            (format!("00-{trace}-{span}-01-more"), None),
            (format!("00-{trace}-{span}-01-"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("00-{}-{span}-01", trace.to_uppercase()), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{span}-0"), None),
            (format!("00-{trace}-{span}-0g"), None),
            (format!("00-{trace}-{span}"), None),
            (format!("0-{trace}-{span}-001"), None),
            (format!("00-{trace}0-{}-01", &span[1..]), None),
            (format!("00_{trace}_{span}_01"), None),
            (format!(" 00-{trace}-{span}-01"), None),
            (format!("00-+{}-{span}-01", &trace[1..]), None),
            (format!("00-{}é-{span}-01", &trace[2..]), None),
            (String::new(), None),
            ("-".repeat(LENGTH), None),
        ] {
            assert_eq!(TraceContext::parse(&text), expected, "{text}");
        }
        let context = context(true).unwrap();
        assert_eq!(context.to_string(), format!("00-{trace}-{span}-01"));
        let (other, child) = (TraceContext::random(), context.child());
        assert_eq!(TraceContext::parse(&other.to_string()), Some(other));
        assert_eq!((child.trace, child.is_sampled), (context.trace, true));
        assert_ne!(child.span, context.span);
    }

    #[test]
    fn what_is_said_twice_is_not_said() {
        let value = TraceContext::random().to_string();
        for (times, is_said) in [(0, false), (1, true), (2, false)] {
            let mut headers = HeaderMap::new();
            for _ in 0..times {
                headers.append(HEADER, value.parse().unwrap());
            }
            assert_eq!(TraceContext::of(&headers).is_some(), is_said, "{times}");
        }
    }
}
