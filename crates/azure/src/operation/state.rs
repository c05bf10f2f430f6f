//! The words for how an operation or a resource is.

use serde_json::Value;

/// How it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not at its end: any word that is none of the three.
    Running,
    /// It is as it was to be.
    Succeeded,
    /// It failed or was cancelled, in Azure's word.
    Ended(String),
}

impl From<&str> for State {
    fn from(word: &str) -> Self {
        match word.trim().to_ascii_lowercase().as_str() {
            "succeeded" => Self::Succeeded,
            // The RPC has one l in it, some services two.
            "failed" | "canceled" | "cancelled" => Self::Ended(word.trim().to_owned()),
            _ => Self::Running,
        }
    }
}

impl State {
    /// By `provisioningState`; `None` if the body has none, which means that there is nothing to wait for.
    pub(super) fn of_resource(body: &Value) -> Option<Self> {
        let word = body.get("properties")?.get("provisioningState")?.as_str()?;
        (!word.is_empty()).then(|| Self::from(word))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn three_words_end_a_state_and_every_other_goes_on() {
        let ended = |word: &str| State::Ended(word.to_owned());
        for (word, state) in [
            ("Succeeded", State::Succeeded),
            ("succeeded ", State::Succeeded),
            ("Failed", ended("Failed")),
            ("Canceled", ended("Canceled")),
            ("Cancelled", ended("Cancelled")),
            ("InProgress", State::Running),
            ("Creating", State::Running),
            ("Deleting", State::Running),
            ("Something new", State::Running),
        ] {
            assert_eq!(State::from(word), state);
            assert_eq!(
                State::of_resource(&json!({"properties": {"provisioningState": word}})),
                Some(state)
            );
        }
        for body in [
            json!(null),
            json!({}),
            json!({"properties": {}}),
            json!({"properties": {"provisioningState": ""}}),
        ] {
            assert_eq!(State::of_resource(&body), None, "{body}");
        }
    }
}
