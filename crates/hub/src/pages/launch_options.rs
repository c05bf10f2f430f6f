//! The options of the launch form.

use std::time::Duration;

use launch::{place::Description, policy::Policy};
use maud::{Markup, html};

use super::{
    launch_form::{DnsChoice, Form, KeyChoice, LIFETIMES},
    words,
};

/// Where the gateway runs.
pub(super) fn places(places: &[Description], form: &Form) -> Markup {
    html! {
        fieldset {
            legend { "Place" }
            div.cards.wide-cards {
                @for place in places {
                    label.choice {
                        input type="radio" name="place" value=(place.name) checked[place.name == form.place]
                            data-usual=(place.usual_secs) data-sample[place.is_sample]
                            data-makes-keys[!place.takes_public_keys];
                        span.choice-text {
                            span.choice-title { (place.name) @if place.is_sample { " " span.badge.sample { "sample" } } }
                            span.soft { (words::sentence(&place.title)) }
                            span.soft.small { "Usually ready in " (words::duration(Duration::from_secs(place.usual_secs))) }
                        }
                    }
                }
            }
        }
    }
}

/// How long it lives.
pub(super) fn lifetimes(policy: &Policy, form: &Form) -> Markup {
    let most = policy.max_lifetime;
    let is_offered = |secs: &u64| *secs <= most.as_secs() || form.lifetime_secs == Some(*secs);
    let offered = LIFETIMES.into_iter().filter(is_offered);
    html! {
        fieldset {
            legend { "Lifetime" }
            p.hint #lifetime-hint {
                "Counted from the moment it is ready. You can extend it later, up to " (words::duration(most)) " in all."
            }
            div.pills {
                @for secs in offered {
                    label.pill {
                        input type="radio" name="lifetime" value=(secs) checked[form.lifetime_secs == Some(secs)];
                        span { (words::duration(Duration::from_secs(secs))) }
                    }
                }
                label.pill {
                    input type="radio" name="lifetime" value="other" checked[form.lifetime_secs.is_none()];
                    span { "Other" }
                }
            }
            div.field.beside data-when="lifetime=other" {
                label for="lifetime-other" { "Other lifetime" }
                input #lifetime-other name="lifetime_other" value=(form.lifetime_other) placeholder="45 min" size="12"
                    autocomplete="off" aria-describedby="lifetime-hint";
            }
        }
    }
}

/// Who makes the clients' keys. Nothing is chosen for whoever runs no scripts: then no way is the obvious one.
pub(super) fn keys(form: &Form) -> Markup {
    let is = |choice| form.keys == Some(choice);
    html! {
        fieldset #keys-field {
            legend { "Keys" }
            p.hint { "Whoever has the private key of a device can be that device, so it should be on the device alone." }
            div #no-keys .note.warn hidden {
                p {
                    strong { "This browser cannot make keys. " }
                    span #no-keys-why { "It offers no X25519, or this page did not come by HTTPS." }
                }
                p {
                    "Make a key pair with " code { (KEY_PAIR) } " and paste the public key below, or let the gateway make the \
                     keys."
                }
            }
            div.scriptless {
                p.note.warn {
                    span { strong { "This page cannot make keys here: " } "the browser runs no scripts. Choose who makes them." }
                }
            }
            div.cards.one-a-row {
                // A script offers it where the browser can.
                label.choice #keys-browser hidden {
                    input type="radio" name="keys" value="browser" required disabled checked[is(KeyChoice::Browser)];
                    span.choice-text {
                        span.choice-title { "Made in this browser" }
                        span.soft { "Private keys never leave it: this hub and the gateway see public keys only." }
                    }
                }
                (required("keys", "pasted", is(KeyChoice::Pasted), "I have my own",
                    "You paste the public key of each device and keep the private one."))
                (required("keys", "gateway", is(KeyChoice::Gateway), "Made on the gateway",
                    "For devices that cannot. Private keys come over the network once, and whoever runs the hub or the gateway \
                     could have seen them."))
            }
        }
    }
}

/// What makes a key pair: the private key goes to a file, the public one to the terminal.
pub(super) const KEY_PAIR: &str = "wg genkey | tee private.key | wg pubkey";

/// What goes through the tunnel.
pub(super) fn traffic(form: &Form) -> Markup {
    html! {
        fieldset {
            legend { "Traffic through the tunnel" }
            div.cards {
                (choice("traffic", "all", !form.is_split, "Everything", "All that a device sends, IPv4 and IPv6."))
                (choice("traffic", "some", form.is_split, "Only some networks", "The rest goes its usual way."))
            }
            div.field data-when="traffic=some" {
                label for="networks" { "Networks" }
                textarea #networks .mono name="networks" rows="3" spellcheck="false" autocapitalize="none"
                    aria-describedby="networks-hint" { (form.networks) }
                p.hint #networks-hint { "One a line, such as 10.0.0.0/8 or fd00::/8." }
            }
        }
    }
}

/// Who resolves names.
pub(super) fn dns(form: &Form) -> Markup {
    html! {
        fieldset {
            legend { "DNS" }
            div.cards {
                (choice("dns", "gateway", form.dns == DnsChoice::Gateway, "The gateway",
                    "Names are asked inside the tunnel."))
                (choice("dns", "own", form.dns == DnsChoice::Own, "The device's own",
                    "Its network may see which names it asks for."))
                (choice("dns", "custom", form.dns == DnsChoice::Custom, "Other servers", "Addresses that you name."))
            }
            div.field data-when="dns=custom" {
                label for="dns-custom" { "Servers and search domains" }
                input #dns-custom .mono name="dns_custom" value=(form.dns_custom) placeholder="9.9.9.9, 2620:fe::fe"
                    spellcheck="false" autocapitalize="none" autocomplete="off";
            }
        }
    }
}

/// What few people change.
pub(super) fn advanced(places: &[Description], form: &Form) -> Markup {
    let is_changed = [
        &form.region,
        &form.size,
        &form.port,
        &form.mtu,
        &form.idle_end,
        &form.ssh_key,
    ]
    .iter()
    .any(|text| !text.is_empty());
    html! {
        details.more open[is_changed] {
            summary { "More options" }
            div.grid {
                (select("region", "Region", places, &form.region, |place| &place.regions))
                (select("size", "Size", places, &form.size, |place| &place.sizes))
                (text("port", "UDP port", &form.port, "a free one", "1 to 65535."))
                (text("mtu", "MTU, bytes", &form.mtu, "the gateway's", "1280 to 9000."))
                (text("idle_end", "End when idle, minutes", &form.idle_end, "never", "Without any handshake for so long."))
            }
            (login(places, form))
        }
    }
}

/// Who may log in to the gateway's machine, at places that offer it.
fn login(places: &[Description], form: &Form) -> Markup {
    let offering: Vec<&str> = places
        .iter()
        .filter(|place| place.offers_ssh)
        .map(|place| place.name.as_str())
        .collect();
    html! {
        @if !offering.is_empty() {
            div.field data-places=(offering.join(" ")) {
                label for="ssh_key" { "SSH key" }
                textarea #ssh_key .mono name="ssh_key" rows="3" spellcheck="false" autocapitalize="none" autocomplete="off"
                    placeholder="ssh-ed25519 AAAA…" aria-describedby="ssh_key-hint" { (form.ssh_key) }
                p.hint #ssh_key-hint {
                    "Your public key opens the gateway's machine as the user core, for " (offering.join(", ")) " only. Without \
                     one nobody logs in."
                }
            }
        }
    }
}

fn choice(name: &str, value: &str, is_checked: bool, title: &str, hint: &str) -> Markup {
    radio(name, value, [is_checked, false], title, hint)
}

/// One of several, of which none may be chosen yet.
fn required(name: &str, value: &str, is_checked: bool, title: &str, hint: &str) -> Markup {
    radio(name, value, [is_checked, true], title, hint)
}

fn radio(name: &str, value: &str, [is_checked, is_required]: [bool; 2], title: &str, hint: &str) -> Markup {
    html! {
        label.choice {
            input type="radio" name=(name) value=(value) checked[is_checked] required[is_required];
            span.choice-text {
                span.choice-title { (title) }
                span.soft { (hint) }
            }
        }
    }
}

fn text(name: &str, label: &str, value: &str, placeholder: &str, hint: &str) -> Markup {
    html! {
        div.field {
            label for=(name) { (label) }
            input #(name) name=(name) value=(value) placeholder=(placeholder) inputmode="numeric" autocomplete="off"
                aria-describedby={ (name) "-hint" };
            p.hint #{ (name) "-hint" } { (hint) }
        }
    }
}

fn select(
    name: &str,
    label: &str,
    places: &[Description],
    chosen: &str,
    options: impl Fn(&Description) -> &Vec<String>,
) -> Markup {
    html! {
        @if places.iter().any(|place| !options(place).is_empty()) {
            div.field data-choices=(name) {
                label for=(name) { (label) }
                select #(name) name=(name) {
                    option value="" { "The place's default" }
                    @for place in places.iter().filter(|place| !options(place).is_empty()) {
                        optgroup label=(place.name) {
                            @for option in options(place) { option selected[option == chosen] { (option) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_for_an_ssh_key_is_there_where_a_place_offers_a_login() {
        let place = |name: &str, offers_ssh| Description {
            name: name.to_owned(),
            offers_ssh,
            ..Description::default()
        };
        // (places, those of the field)
        for (places, expected) in [
            (vec![place("docker", false)], None),
            (vec![place("docker", false), place("azure-vm", true)], Some("azure-vm")),
            (
                vec![place("azure-vm", true), place("vm-2", true)],
                Some("azure-vm vm-2"),
            ),
        ] {
            let form = Form {
                ssh_key: "ssh-ed25519 AAAA".to_owned(),
                ..Form::new(&places, &Policy::default())
            };
            let page = advanced(&places, &form).into_string();
            let found = page
                .split_once("data-places=\"")
                .and_then(|(_, rest)| rest.split('"').next());
            assert_eq!(found, expected, "{page}");
            assert_eq!(page.contains(">ssh-ed25519 AAAA</textarea>"), expected.is_some());
        }
    }
}
