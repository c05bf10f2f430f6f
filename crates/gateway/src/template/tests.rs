//! What is rendered, and what is refused.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Variables and files of a test.
struct Values(BTreeMap<&'static str, &'static str>);

impl Source for Values {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|text| (*text).to_owned())
    }

    fn file(&self, path: &str) -> Result<Zeroizing<String>, String> {
        let content = self.0.get(path).ok_or("no such file")?;
        Ok(Zeroizing::new((*content).to_owned()))
    }
}

fn values() -> Values {
    Values(BTreeMap::from([
        ("INTERFACE", "10.13.13"),
        ("PEER_ID", "peer_phone"),
        ("EMPTY", ""),
        ("SLY", "$(touch x) `id` ${INTERFACE} \\"),
        ("/config/peer_phone/privatekey-peer_phone", "KEY\n"),
        ("/config/two", "one\n$INTERFACE\n\n"),
    ]))
}

fn render(text: &str) -> Result<String, TemplateError> {
    Ok(Template::parse("peer.conf", text)?.render(&values())?.to_string())
}

#[test]
fn expansions_are_those_of_a_here_document() {
    for (text, rendered) in [
        ("", "\n"),
        ("a\n\n\n", "a\n"),
        ("Address = ${INTERFACE}.1", "Address = 10.13.13.1\n"),
        ("$INTERFACE.1 $PEER_ID-x", "10.13.13.1 peer_phone-x\n"),
        ("[${UNSET}][${EMPTY}][$UNSET]", "[][][]\n"),
        ("${UNSET:-a} ${EMPTY:-b} ${INTERFACE:-c}", "a b 10.13.13\n"),
        ("${UNSET:-${INTERFACE}.1, ${EMPTY:-x y}}", "10.13.13.1, x y\n"),
        ("${UNSET:-}|", "|\n"),
        ("${UNSET:-a\\}b}|", "a}b|\n"),
        ("$(cat /config/${PEER_ID}/privatekey-${PEER_ID})", "KEY\n"),
        ("$( cat  \"/config/$PEER_ID/privatekey-$PEER_ID\" )|", "KEY|\n"),
        ("$(cat /config/two)", "one\n$INTERFACE\n"),
        ("${UNSET:-$(cat /config/two)}", "one\n$INTERFACE\n"),
        // A value is not expanded again.
        ("${SLY}", "$(touch x) `id` ${INTERFACE} \\\n"),
        (
            "\\$INTERFACE \\${X} \\\\ \\` \\n \\\"",
            "$INTERFACE ${X} \\ ` \\n \\\"\n",
        ),
        ("one \\\ntwo", "one two\n"),
        ("100 $ 5$ $. $", "100 $ 5$ $. $\n"),
        ("it's \"quoted\" # * ~ ; | & < >", "it's \"quoted\" # * ~ ; | & < >\n"),
        ("größe = ${INTERFACE}", "größe = 10.13.13\n"),
    ] {
        assert_eq!(render(text).as_deref(), Ok(rendered), "{text}");
    }
}

#[test]
fn everything_else_is_refused_with_its_place() {
    for (text, place, reason) in [
        ("a\nb $(touch x)", "2:3", "`$(touch x)` would run a command"),
        ("$(cat /config/a; id)", "1:1", "would run a command"),
        ("$(cat /config/a /config/b)", "1:1", "would run a command"),
        ("$(cat)", "1:1", "would run a command"),
        ("$(cat )", "1:1", "would run a command"),
        ("$(cat ~/x)", "1:1", "would run a command"),
        ("$(cat $(id))", "1:7", "would run a command"),
        ("$(cat $(cat /config/two))", "1:1", "would run a command"),
        ("$(cat \"/config/a)", "1:1", "would run a command"),
        ("$(cat '/config/a')", "1:1", "would run a command"),
        ("$(< /config/a)", "1:1", "would run a command"),
        ("$(cat<x)", "1:1", "would run a command"),
        ("$((1+1))", "1:1", "would run a command"),
        ("ü `id`", "1:3", "``id`` would run a command"),
        ("${x%y}", "1:1", "`${x%y}` is not rendered"),
        ("${x:?message}", "1:1", "is not rendered"),
        ("${x-y}", "1:1", "is not rendered"),
        ("${x:=y}", "1:1", "is not rendered"),
        ("${x:+y}", "1:1", "is not rendered"),
        ("${CLIENT_IP##*.}", "1:1", "is not rendered"),
        ("${#x}", "1:1", "is not rendered"),
        ("${!x}", "1:1", "is not rendered"),
        ("${x[0]}", "1:1", "is not rendered"),
        ("${1}", "1:1", "is not rendered"),
        ("${}", "1:1", "is not rendered"),
        ("${x:-\"y\"}", "1:1", "is not rendered"),
        ("$1 and $@", "1:1", "is not rendered"),
        ("$$", "1:1", "is not rendered"),
        ("$[1+1]", "1:1", "is not rendered"),
        ("a\n\n  ${x", "3:3", "`${x` has no end"),
        ("${x:-a\nb", "1:1", "`${x:-a` has no end"),
        ("$(cat /config/a", "1:1", "has no end"),
        ("$(cat /config/three)", "1:1", "$(cat /config/three): no such file"),
    ] {
        let message = render(text).unwrap_err().to_string();
        assert!(
            message.starts_with(&format!("peer.conf:{place}: ")),
            "{text}: {message}"
        );
        assert!(message.contains(reason), "{text}: {message}");
    }
    let deep = "${x:-".repeat(17) + &"}".repeat(17);
    assert!(render(&deep).unwrap_err().to_string().contains("stand in one another"));
}

#[test]
fn the_default_templates_are_rendered() {
    for template in [SERVER, PEER] {
        Template::parse("default", template).unwrap();
    }
}

proptest! {
    #[test]
    fn any_text_is_rendered_or_refused(text in "[${}():\\-`\"a-cX \\\\\n]{0,40}") {
        if let Ok(rendered) = render(&text) {
            prop_assert!(rendered.ends_with('\n'));
        }
    }

    #[test]
    fn a_text_without_expansions_is_itself(text in "[a-z =\\[\\]#;.,/\n]{0,60}[a-z]") {
        prop_assert_eq!(render(&text).unwrap(), text + "\n");
    }
}
