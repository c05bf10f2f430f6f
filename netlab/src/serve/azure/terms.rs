//! The marketplace's terms: asked for, and accepted by sending them back.

use serde_json::{Value, json};

use super::call::Call;
use super::fault::Refusal;
use super::members;
use super::request::Answer;

/// Whoever accepts sends back what it was given, this included.
const SIGNATURE: &str = "MANYLETTERSTHATTHESERVICEKNOWSAGAIN";

pub(super) fn answer(call: &Call<'_>, name: &[&str; 3]) -> Result<Answer, Refusal> {
    let [publisher, offer, plan] = *name;
    let key = name.join(":");
    match &*call.request.method {
        "GET" => {}
        "PUT" => {
            let body = call.body(&members::AGREEMENT)?;
            let properties = &body["properties"];
            let is_given = properties["signature"] == SIGNATURE
                && properties["publisher"] == publisher
                && properties["product"] == offer
                && properties["plan"] == plan;
            if !is_given {
                // [guess] The code; that the terms must come back as they were given is documented.
                let message = "The terms do not match those of the offer; get them and send them back.";
                return Err(Refusal::new(400, "BadRequest", message));
            }
            let mut state = call.state();
            if properties["accepted"] == true {
                state.catalog.accept(publisher, offer, plan);
            } else {
                state.catalog.cancel(&key);
            }
        }
        _ => return Err(Refusal::new(405, "MethodNotAllowed", "The method is not allowed.")),
    }
    let is_accepted = call.state().catalog.has_accepted(&key);
    Ok(Answer::json(200, terms(call, name, is_accepted)))
}

fn terms(call: &Call<'_>, [publisher, offer, plan]: &[&str; 3], is_accepted: bool) -> Value {
    let subscription = &call.shared.settings.subscription;
    json!({
        "id": format!("/subscriptions/{subscription}/providers/Microsoft.MarketplaceOrdering/offertypes/virtualmachine/publishers/{publisher}/offers/{offer}/plans/{plan}/agreements/current"),
        "name": plan, "type": "Microsoft.MarketplaceOrdering/offertypes",
        "properties": {
            "publisher": publisher, "product": offer, "plan": plan,
            "licenseTextLink": "https://mpcprodsa.blob.core.windows.net/legalterms/terms.txt",
            "privacyPolicyLink": "https://www.example.org/privacy",
            "retrieveDatetime": "2026-01-01T00:00:00.0000000Z", "signature": SIGNATURE, "accepted": is_accepted,
        },
    })
}
