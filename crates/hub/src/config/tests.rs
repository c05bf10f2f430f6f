//! What may be configured together, and what is said of the rest.

use super::*;

fn public() -> Typed {
    Typed {
        listen: Some("0.0.0.0:443".to_owned()),
        public_url: Some("https://vpn.example.org".to_owned()),
        trusted_proxies: vec!["10.0.0.7".to_owned()],
        api_tokens: Some(true),
        ..Typed::default()
    }
}

fn oidc() -> TypedOidc {
    TypedOidc {
        issuer: Some("https://accounts.google.com".to_owned()),
        client_id: Some("adit".to_owned()),
        ..TypedOidc::default()
    }
}

fn tls() -> TypedTls {
    TypedTls {
        certificate: Some("cert.pem".into()),
        key: Some("key.pem".into()),
    }
}

#[test]
fn without_a_word_it_is_for_this_machine_alone() {
    let config = Config::new(Typed::default()).unwrap();
    assert_eq!(config.listen, DEFAULT_LISTEN);
    assert_eq!(config.origin.to_string(), "http://127.0.0.1:8790");
    assert!(config.is_local && config.oidc.is_none() && config.has_api_tokens && config.tls.is_none());
    assert_eq!(config.policy, Policy::default());
}

#[test]
fn a_hub_that_others_reach_has_sign_in_and_encryption() {
    let change = |change: fn(&mut Typed)| {
        let mut typed = public();
        change(&mut typed);
        typed
    };
    let no_sign_in = |reach: &str| {
        Err(ConfigError::NoSignIn {
            reach: reach.to_owned(),
        })
    };
    let plain = |reach: &str| {
        Err(ConfigError::Plain {
            reach: reach.to_owned(),
        })
    };
    let cases: [(&str, Typed, Result<&str, ConfigError>); 13] = [
        ("tokens and a proxy", public(), Ok("https://vpn.example.org")),
        (
            "oidc and a certificate",
            change(|typed| {
                typed.api_tokens = None;
                typed.oidc = Some(oidc());
                typed.tls = Some(tls());
                typed.trusted_proxies.clear();
            }),
            Ok("https://vpn.example.org"),
        ),
        (
            "nobody signs in",
            change(|typed| typed.api_tokens = None),
            no_sign_in("https://vpn.example.org"),
        ),
        (
            "tokens refused",
            change(|typed| typed.api_tokens = Some(false)),
            no_sign_in("https://vpn.example.org"),
        ),
        (
            "nobody signs in, on all addresses",
            Typed {
                listen: Some("0.0.0.0:8790".to_owned()),
                ..Typed::default()
            },
            no_sign_in("0.0.0.0:8790"),
        ),
        (
            "a proxy on this machine makes it public",
            Typed {
                trusted_proxies: vec!["127.0.0.1".to_owned()],
                ..Typed::default()
            },
            no_sign_in("127.0.0.1:8790"),
        ),
        (
            "so does a public name",
            Typed {
                public_url: Some("https://vpn.example.org".to_owned()),
                ..Typed::default()
            },
            no_sign_in("https://vpn.example.org"),
        ),
        (
            "in the clear",
            change(|typed| typed.trusted_proxies.clear()),
            plain("https://vpn.example.org"),
        ),
        (
            "no name",
            change(|typed| typed.public_url = None),
            Err(ConfigError::NoPublicUrl),
        ),
        (
            "a name without encryption",
            change(|typed| typed.public_url = Some("http://vpn.example.org".to_owned())),
            Err(ConfigError::wrong(
                "public_url",
                "begins with https:// where others reach the hub",
            )),
        ),
        (
            "a proxy that is everybody",
            change(|typed| typed.trusted_proxies = vec!["0.0.0.0/0".to_owned()]),
            Err(ConfigError::wrong(
                "trusted_proxies",
                "would trust everybody: name the proxy alone",
            )),
        ),
        (
            "this machine by its name",
            Typed {
                public_url: Some("http://localhost:8790/".to_owned()),
                ..Typed::default()
            },
            Ok("http://localhost:8790"),
        ),
        (
            "this machine, encrypted",
            Typed {
                tls: Some(tls()),
                ..Typed::default()
            },
            Ok("https://127.0.0.1:8790"),
        ),
    ];
    for (what, typed, expected) in cases {
        let found = Config::new(typed).map(|config| config.origin.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{what}");
    }
    let advice = ConfigError::NoSignIn {
        reach: "0.0.0.0:8790".to_owned(),
    }
    .to_string();
    for word in ["oidc", "api_tokens: true", "127.0.0.1:8790"] {
        assert!(advice.contains(word), "{advice}");
    }
}

#[test]
fn metrics_leave_this_machine_encrypted_and_to_who_has_a_token() {
    // (address, certificate, token, insecure, encrypted?)
    for (listen, has_certificate, has_token, is_insecure, expected) in [
        ("127.0.0.1:9100", false, false, false, Some(false)),
        ("127.0.0.1:9100", true, true, false, Some(false)),
        ("[::1]:9100", false, false, false, Some(false)),
        ("0.0.0.0:9100", false, false, false, None),
        ("0.0.0.0:9100", true, false, false, None),
        ("0.0.0.0:9100", false, true, false, None),
        ("10.0.0.1:9100", true, true, false, Some(true)),
        ("10.0.0.1:9100", false, false, true, Some(false)),
        ("10.0.0.1:9100", true, true, true, Some(false)),
    ] {
        let config = Config::new(Typed {
            metrics_listen: Some(listen.to_owned()),
            metrics_token_file: has_token.then(|| "token".into()),
            metrics_insecure: Some(is_insecure),
            tls: has_certificate.then(tls),
            ..Typed::default()
        });
        let what = (listen, has_certificate, has_token, is_insecure);
        match (config, expected) {
            (Ok(config), Some(is_encrypted)) => {
                let metrics = config.metrics.unwrap();
                assert_eq!(metrics.is_encrypted, is_encrypted, "{what:?}");
                assert_eq!(metrics.token_file.is_some(), has_token, "{what:?}");
            }
            (Err(error), None) => assert!(error.to_string().contains("metrics_insecure"), "{error}"),
            (found, _) => panic!("{what:?}: {found:?}"),
        }
    }
}

#[test]
fn what_is_over_is_kept_for_so_many_days_or_for_ever() {
    let day = Duration::from_secs(86_400);
    for (leases_days, audit_days, expected) in [
        (None, None, (Some(400 * day), None)),
        (Some(0), Some(0), (None, None)),
        (Some(30), Some(3_650), (Some(30 * day), Some(3_650 * day))),
    ] {
        let retention = TypedRetention {
            leases_days,
            audit_days,
        };
        let config = Config::new(Typed {
            retention,
            ..Typed::default()
        });
        let Retention { leases, audit } = config.unwrap().retention;
        assert_eq!((leases, audit), expected);
    }
}

#[test]
fn a_wrong_value_is_named() {
    type Change = fn(&mut Typed);
    let cases: [(Change, &str); 15] = [
        (|typed| typed.listen = Some("8790".to_owned()), "listen"),
        (|typed| typed.listen = Some("localhost:8790".to_owned()), "listen"),
        (
            |typed| typed.metrics_listen = Some(":9100".to_owned()),
            "metrics_listen",
        ),
        (
            |typed| typed.public_url = Some("vpn.example.org".to_owned()),
            "public_url",
        ),
        (
            |typed| typed.public_url = Some("https://vpn.example.org/adit".to_owned()),
            "public_url",
        ),
        (
            |typed| typed.public_url = Some("https://localhost:8790".to_owned()),
            "public_url",
        ),
        (
            |typed| typed.trusted_proxies = vec!["proxy".to_owned()],
            "trusted_proxies",
        ),
        (|typed| typed.tls = Some(TypedTls::default()), "tls.certificate"),
        (|typed| typed.session_secs = Some(1), "session_secs"),
        (
            |typed| typed.limits.max_lifetime_secs = Some(1),
            "limits.max_lifetime_secs",
        ),
        (|typed| typed.rates.per_user = Some(0), "rates.per_user"),
        (
            |typed| typed.metrics_token_file = Some("token".into()),
            "metrics_token_file",
        ),
        (
            |typed| typed.retention.leases_days = Some(36_501),
            "retention.leases_days",
        ),
        (
            |typed| typed.retention.audit_days = Some(36_501),
            "retention.audit_days",
        ),
        (
            |typed| typed.otlp_endpoint = Some("collector:4318".to_owned()),
            "otlp_endpoint",
        ),
    ];
    for (change, field) in cases {
        let mut typed = Typed::default();
        change(&mut typed);
        let error = Config::new(typed).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{field}: {error}");
    }
}
