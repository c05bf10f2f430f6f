//! What holds for every page: what comes from people is text, nothing is inline, every file is there.

use std::{collections::BTreeMap, time::Duration};

use launch::{
    Lease, LeaseId, Moment, State,
    conf::configuration,
    launcher::{Numbered, Usage},
    lease::{GatewayFacts, Kind, Notice},
    node::Secret,
    order::{Keys, Order, PeerRequest, Profile, Request},
    place::{Description, Fault, FaultKind},
    policy::Policy,
};
use maud::Markup;
use zeroize::Zeroizing;

use super::{
    admin::AdminPage,
    audit::AuditPage,
    devices::HandedOver,
    error::ErrorPage,
    history::HistoryPage,
    launch::{LaunchPage, Refused},
    launch_form::Form,
    layout::Viewer,
    lease::LeasePage,
    login::LoginPage,
    tokens::TokensPage,
};
use crate::{
    audit::{Head, Row, Whole},
    identity::Role,
    problem::Problem,
    sign_in::{Account, Token},
};

/// What would run if a page took it for markup.
const HOSTILE: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>";

const NOW: Moment = Moment::from_millis(1_795_000_000_000);

fn places() -> Vec<Description> {
    let place = |name: &str, is_sample| Description {
        name: name.to_owned(),
        title: HOSTILE.to_owned(),
        regions: vec![HOSTILE.to_owned()],
        usual_secs: 3,
        takes_public_keys: true,
        is_sample,
        ..Description::default()
    };
    vec![place("local", false), place("simulate", true)]
}

fn profiles() -> BTreeMap<String, Profile> {
    let profile = Profile {
        description: HOSTILE.to_owned(),
        ..Profile::default()
    };
    BTreeMap::from([(HOSTILE.to_owned(), profile)])
}

fn lease(state: State, keys: Keys) -> Lease {
    let key = (keys == Keys::Client).then(|| wg::PublicKey::from_bytes([7; 32]));
    let peers = vec![
        PeerRequest {
            name: "phone".to_owned(),
            public_key: key,
        },
        PeerRequest {
            name: "laptop".to_owned(),
            public_key: None,
        },
    ];
    let request = Request {
        keys: Some(Keys::Gateway),
        peers: vec![PeerRequest {
            name: "x".to_owned(),
            public_key: None,
        }],
        ..Request::default()
    };
    let order = Order::new(&request, &BTreeMap::new(), &places(), &Policy::default()).unwrap();
    let order = Order {
        keys,
        dns: Some(vec![HOSTILE.to_owned()]),
        ..order
    };
    let mut lease = Lease::new(LeaseId::new(NOW, 7), HOSTILE, order, &peers, true, NOW);
    lease.state = state;
    lease.doing = HOSTILE.to_owned();
    lease.ready_at = Some(NOW);
    lease.fault =
        (state == State::Failed).then(|| Fault::new(FaultKind::Refused, "broken", HOSTILE).with_remedy(HOSTILE));
    lease.gateway = Some(GatewayFacts {
        public_key: wg::PublicKey::from_bytes([9; 32]),
        endpoint: HOSTILE.to_owned(),
        plane: HOSTILE.to_owned(),
        addresses: vec!["10.13.13.1/24".parse().unwrap()],
    });
    for peer in &mut lease.peers {
        peer.addresses = vec!["10.13.13.2".parse().unwrap()];
        peer.first_handshake_at = key.map(|_| NOW);
    }
    lease
}

fn notices() -> Vec<Numbered> {
    let notice = |kind, state| Notice {
        at: NOW,
        kind,
        message: HOSTILE.to_owned(),
        state,
    };
    [
        notice(Kind::Retry, State::Provisioning),
        notice(Kind::Rekeyed, State::Ready),
    ]
    .into_iter()
    .zip(1..)
    .map(|(notice, number)| Numbered { number, notice })
    .collect()
}

/// Every page, with hostile values wherever somebody can bring one in.
fn every_page() -> Vec<(String, Markup)> {
    let viewer = Viewer {
        name: HOSTILE.to_owned(),
        is_admin: true,
        csrf: "proof".to_owned(),
    };
    let viewer = &viewer;
    let (places, profiles, policy, notices) = (places(), profiles(), Policy::default(), notices());
    let mut pages: Vec<(String, Markup)> = Vec::new();
    let mut form = Form::new(&places, &policy);
    form.devices[0].name = HOSTILE.to_owned();
    form.lifetime_other = HOSTILE.to_owned();
    form.networks = HOSTILE.to_owned();
    let problem = Problem::invalid("dns[0]", format!("dns[0]: {HOSTILE}")).with_remedy(HOSTILE);
    let refused = Refused::from(problem.clone());
    let ready = [
        lease(State::Ready, Keys::Client),
        lease(State::Provisioning, Keys::Client),
    ];
    let launch = LaunchPage {
        viewer,
        places: &places,
        profiles: &profiles,
        profile: Some(HOSTILE),
        policy: &policy,
        form: &form,
        problem: Some(&refused),
        running: &ready,
        now: NOW,
    };
    pages.push(("launch".to_owned(), launch.render()));
    for state in State::ALL {
        for keys in [Keys::Client, Keys::Gateway] {
            let lease = lease(state, keys);
            let configurations: Vec<_> = lease
                .peers
                .iter()
                .filter_map(|peer| configuration(&lease, peer))
                .collect();
            let page = LeasePage {
                viewer,
                lease: &lease,
                notices: &notices,
                place: places.first(),
                policy: &policy,
                configurations: &configurations,
                now: NOW + Duration::from_secs(65),
            };
            pages.push((format!("lease {state:?} {keys:?}"), page.render()));
        }
    }
    let secret = Secret::new(Zeroizing::new(HOSTILE.to_owned()));
    pages.push((
        "hand-over".to_owned(),
        HandedOver {
            viewer,
            lease: ready[0].id,
            name: "phone",
            configuration: &secret,
        }
        .render(),
    ));
    let next = Some(ready[0].id);
    pages.push((
        "history".to_owned(),
        HistoryPage {
            viewer,
            leases: &ready,
            next,
            is_later: true,
        }
        .render(),
    ));
    let account = Account {
        subject: HOSTILE.to_owned(),
        realm: HOSTILE.to_owned(),
        name: HOSTILE.to_owned(),
        email: HOSTILE.to_owned(),
        roles: [Role::User].into(),
        created_at: NOW,
        signed_in_at: NOW,
        blocked_at: None,
    };
    let admin = AdminPage {
        viewer,
        leases: &ready,
        next,
        is_later: false,
        state: Some(State::Ready),
        owner: Some(HOSTILE),
        accounts: &[account],
        own_subject: "local",
        usage: &[Usage {
            owner: format!("{HOSTILE}2"),
            running: 1,
            leases: 2,
            minutes: 3,
        }],
        policy: &policy,
    };
    pages.push(("admin".to_owned(), admin.render()));
    let row = Row {
        number: 1,
        at: NOW,
        who: HOSTILE.to_owned(),
        what: HOSTILE.to_owned(),
        on: HOSTILE.to_owned(),
        outcome: HOSTILE.to_owned(),
        detail: HOSTILE.to_owned(),
        request_id: HOSTILE.to_owned(),
        address: HOSTILE.to_owned(),
        previous: Default::default(),
        hash: Default::default(),
    };
    let verified = Some(Err(HOSTILE.to_owned()));
    pages.push((
        "audit".to_owned(),
        AuditPage {
            viewer,
            rows: &[row],
            next: Some(1),
            is_later: false,
            verified,
        }
        .render(),
    ));
    let token = Token {
        id: HOSTILE.to_owned(),
        name: HOSTILE.to_owned(),
        scopes: Default::default(),
        created_at: NOW,
        expires_at: NOW + Duration::from_secs(60),
        used_at: None,
        revoked_at: None,
    };
    let tokens = TokensPage {
        viewer,
        tokens: &[token],
        made: Some(HOSTILE),
        problem: Some(HOSTILE),
        now: NOW,
    };
    pages.push(("tokens".to_owned(), tokens.render()));
    let login = LoginPage {
        takes_token: true,
        provider: Some(("/login/start".to_owned(), HOSTILE.to_owned())),
        next: HOSTILE.to_owned(),
        problem: Some(HOSTILE.to_owned()),
        note: Some(HOSTILE.to_owned()),
        hidden: None,
    };
    pages.push(("login".to_owned(), login.render()));
    pages.push((
        "error".to_owned(),
        ErrorPage {
            viewer: Some(viewer),
            problem: &problem,
            back: "/history",
            again: Some("/admin"),
        }
        .render(),
    ));
    pages
}

/// The tags of a page, `<…>` each. Attributes' values have no `>` in them: it is escaped.
fn tags(page: &str) -> impl Iterator<Item = &str> {
    page.split('<')
        .skip(1)
        .filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag))
}

/// The attributes of a tag, by name.
fn attributes(tag: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = tag.split_once(' ').map_or("", |(_, rest)| rest);
    while !rest.is_empty() {
        let (name, after) = rest.split_at(rest.find(['=', ' ']).unwrap_or(rest.len()));
        let (value, after) = match after.strip_prefix("=\"") {
            Some(quoted) => quoted.split_once('"').unwrap(),
            None => ("", after),
        };
        found.push((name, value));
        rest = after.trim_start();
    }
    found
}

#[test]
fn what_comes_from_people_is_text_on_every_page() {
    for (name, page) in every_page() {
        let page = page.into_string();
        assert!(!page.contains("<img") && !page.contains("<script>"), "{name}");
        assert!(
            page.contains("&lt;img") || name.starts_with("lease Removed"),
            "{name} shows nothing hostile"
        );
    }
}

#[test]
fn no_page_has_a_script_or_a_style_within_itself() {
    for (name, page) in every_page() {
        let page = page.into_string();
        for tag in tags(&page) {
            assert!(!tag.starts_with("style"), "{name}: {tag}");
            assert!(
                !tag.starts_with("script") || tag.contains("src=\"/assets/"),
                "{name}: {tag}"
            );
            for (attribute, value) in attributes(tag) {
                assert!(attribute != "style" && !attribute.starts_with("on"), "{name}: {tag}");
                assert!(!value.trim_start().starts_with("javascript:"), "{name}: {tag}");
            }
        }
    }
}

#[test]
fn every_file_that_a_page_names_is_there() {
    for (name, page) in every_page() {
        let page = page.into_string();
        let mut count = 0;
        for (attribute, value) in tags(&page).flat_map(attributes) {
            if attribute == "src" || (attribute == "href" && value.starts_with("/assets/")) {
                let file = value.rsplit('/').next().unwrap();
                assert_eq!(value, super::assets::url(file), "{name}");
                count += 1;
            }
        }
        assert!(count >= 4, "{name} names {count} files");
    }
}

#[test]
fn every_form_that_changes_something_has_its_proof_and_every_field_its_label() {
    for (name, page) in every_page() {
        let page = page.into_string();
        for form in page
            .split("<form")
            .skip(1)
            .map(|rest| rest.split("</form>").next().unwrap())
        {
            let is_post = form.split('>').next().unwrap().contains("method=\"post\"");
            let has_proof = form.contains("name=\"csrf\"") || form.contains("action=\"/login\"");
            assert!(!is_post || has_proof, "{name}: {form}");
        }
        for id in tags(&page)
            .filter(|tag| tag.starts_with("label "))
            .flat_map(attributes)
            .filter(|(name, _)| *name == "for")
        {
            assert!(page.contains(&format!("id=\"{}\"", id.1)), "{name}: no field {}", id.1);
        }
    }
}

#[test]
fn no_two_parts_of_a_page_have_one_id() {
    for (name, page) in every_page() {
        let page = page.into_string();
        let mut ids: Vec<&str> = tags(&page)
            .flat_map(attributes)
            .filter(|(name, _)| *name == "id")
            .map(|(_, id)| id)
            .collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{name}");
    }
}

#[test]
fn who_runs_no_scripts_finds_no_way_of_making_keys_chosen_and_has_to_choose() {
    let viewer = Viewer {
        name: "local".to_owned(),
        is_admin: false,
        csrf: "proof".to_owned(),
    };
    let (places, profiles, policy) = (places(), BTreeMap::new(), Policy::default());
    let page = LaunchPage {
        viewer: &viewer,
        places: &places,
        profiles: &profiles,
        profile: None,
        policy: &policy,
        form: &Form::new(&places, &policy),
        problem: None,
        running: &[],
        now: NOW,
    };
    let page = page.render().into_string();
    let ways: Vec<_> = tags(&page)
        .map(attributes)
        .filter(|attributes| attributes.contains(&("name", "keys")))
        .collect();
    assert_eq!(ways.len(), 3);
    for way in ways {
        assert!(
            way.contains(&("required", "")) && !way.contains(&("checked", "")),
            "{way:?}"
        );
        // Only a script can make keys, and offers it itself.
        assert_eq!(
            way.contains(&("disabled", "")),
            way.contains(&("value", "browser")),
            "{way:?}"
        );
    }
    assert!(!page.contains(" novalidate") && page.contains("the browser runs no scripts"));
}

#[test]
fn the_audit_says_from_which_row_on_it_is_whole() {
    let viewer = Viewer {
        name: "local".to_owned(),
        is_admin: true,
        csrf: "proof".to_owned(),
    };
    let head = |count: u64| Head {
        count,
        ..Head::default()
    };
    // (last row that was pruned, last row, what the page says)
    for (pruned, last, expected) in [
        (
            0,
            3,
            "<strong>The chain is whole. </strong>3 rows were checked for this page.</p>",
        ),
        (
            4,
            9,
            "<strong>The chain is whole from row 5 on. </strong>5 rows were checked for this page; the 4 before were pruned.</p>",
        ),
    ] {
        let whole = Whole {
            from: head(pruned),
            head: head(last),
        };
        let page = AuditPage {
            viewer: &viewer,
            rows: &[],
            next: None,
            is_later: false,
            verified: Some(Ok(whole)),
        };
        let page = page.render().into_string();
        assert!(page.contains(expected), "{page}");
    }
}

#[test]
fn a_sample_says_so_wherever_it_is_shown() {
    for (name, page) in every_page() {
        if name.starts_with("lease") || matches!(name.as_str(), "launch" | "history" | "admin") {
            assert!(page.into_string().contains("sample"), "{name}");
        }
    }
}

#[test]
fn who_comes_back_to_a_gateway_that_was_started_anew_reads_what_to_do() {
    for (name, page) in every_page() {
        let page = page.into_string();
        let says = page.contains("lead nowhere");
        let is_ready = name.starts_with("lease") && page.contains("data-state=\"ready\"");
        assert_eq!(says, is_ready, "{name}");
        if says {
            let remedy = if page.contains("data-keys=\"gateway\"") {
                "handed over again"
            } else {
                "change the gateway's public key and endpoint"
            };
            assert!(page.contains(remedy), "{name}");
        }
    }
}

#[test]
fn no_page_but_the_hand_over_has_a_private_key_and_that_one_only_once() {
    for (name, page) in every_page() {
        let page = page.into_string();
        assert!(!page.contains(launch::conf::PRIVATE_KEY), "{name}");
    }
}
