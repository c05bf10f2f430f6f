//! Recognises the commands by which templates let a host forward for a tunnel and hide what it forwards.
//!
//! ```text
//! iptables -A FORWARD -i %i -j ACCEPT; iptables -A FORWARD -o %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth+ -j MASQUERADE
//! ```
//!
//! Pure. A hook is recognised if all of its commands are; one strange word, and it is the shell's.

use linux::{
    Family,
    nftables::guest::{Spot, Way},
};
use wg::IpNet;

/// What a command does to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// `-A` or `-I`, where in the chain.
    Add(Spot),
    /// `-D`.
    Delete,
}

/// One command's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) verb: Verb,
    pub(super) family: Family,
    pub(super) what: What,
}

/// What the rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Packets from the tunnel, or to it, may pass.
    Forward(Way),
    /// Packets that leave by an interface get its address.
    Masquerade {
        /// The interface's name, or its beginning; `None` is any.
        out: Option<Out>,
        /// Where they come from; `None` is anywhere.
        source: Option<IpNet>,
    },
}

/// Interfaces that packets leave by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Out {
    /// The one of this name.
    Named(String),
    /// Those whose names begin so.
    Beginning(String),
    /// All but the one of this name.
    Not(String),
}

/// The rules of a hook of the tunnel `name`, if it has no others.
pub(super) fn recognise(hook: &str, name: &str) -> Option<Vec<Rule>> {
    let mut rules = Vec::new();
    for command in hook.split(';').flat_map(|part| part.split("&&")) {
        let words: Vec<String> = command
            .split_whitespace()
            .map(|word| word.replace("%i", name))
            .collect();
        if !words.is_empty() {
            rules.push(recognise_command(&words, name)?);
        }
    }
    (!rules.is_empty()).then_some(rules)
}

/// The options of a command, as far as they are known.
#[derive(Debug, Default)]
struct Options<'a> {
    table: Option<&'a str>,
    verb: Option<Verb>,
    chain: Option<&'a str>,
    input: Option<&'a str>,
    output: Option<(bool, &'a str)>,
    source: Option<&'a str>,
    target: Option<&'a str>,
}

fn recognise_command(words: &[String], name: &str) -> Option<Rule> {
    let (program, rest) = words.split_first()?;
    let program = ["/sbin/", "/usr/sbin/"]
        .iter()
        .find_map(|place| program.strip_prefix(place))
        .unwrap_or(program);
    let family = match program {
        "iptables" => Family::V4,
        "ip6tables" => Family::V6,
        _ => return None,
    };
    let options = read(rest)?;
    let what = match (options.table.unwrap_or("filter"), options.chain?, options.target?) {
        ("filter", "FORWARD", "ACCEPT") if options.source.is_none() => {
            let (way, of) = match (options.input, options.output) {
                (Some(input), None) => (Way::From, input),
                (None, Some((false, output))) => (Way::To, output),
                _ => return None,
            };
            (of == name).then_some(What::Forward(way))?
        }
        ("nat", "POSTROUTING", "MASQUERADE") if options.input.is_none() => What::Masquerade {
            out: match options.output {
                None => None,
                Some((is_not, output)) => Some(out(is_not, output)?),
            },
            source: match options.source {
                None => None,
                Some(source) => Some(network(source, family)?),
            },
        },
        _ => return None,
    };
    Some(Rule {
        verb: options.verb?,
        family,
        what,
    })
}

/// Reads options; `None` if one is unknown, comes twice, or lacks its value.
fn read(words: &[String]) -> Option<Options<'_>> {
    let mut options = Options::default();
    let mut words = words.iter().map(String::as_str).peekable();
    while let Some(word) = words.next() {
        match word {
            "!" => {
                words.next_if(|word| matches!(*word, "-o" | "--out-interface"))?;
                set(&mut options.output, (true, words.next()?))?;
            }
            "-o" | "--out-interface" => set(&mut options.output, (false, words.next()?))?,
            "-w" | "--wait" => drop(words.next_if(|word| is_number(word))),
            "-t" | "--table" => set(&mut options.table, words.next()?)?,
            "-A" | "--append" | "-D" | "--delete" | "-I" | "--insert" => {
                let verb = match word {
                    "-D" | "--delete" => Verb::Delete,
                    "-I" | "--insert" => Verb::Add(Spot::Top),
                    _ => Verb::Add(Spot::End),
                };
                set(&mut options.verb, verb)?;
                set(&mut options.chain, words.next()?)?;
                if matches!(word, "-I" | "--insert") {
                    words.next_if_eq(&"1");
                }
            }
            "-i" | "--in-interface" => set(&mut options.input, words.next()?)?,
            "-s" | "--source" => set(&mut options.source, words.next()?)?,
            "-j" | "--jump" => set(&mut options.target, words.next()?)?,
            _ => return None,
        }
    }
    Some(options)
}

fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Interfaces as iptables writes them: `+` at the end is any rest.
fn out(is_not: bool, text: &str) -> Option<Out> {
    let (beginning, is_open) = match text.strip_suffix('+') {
        Some(beginning) => (beginning, true),
        None => (text, false),
    };
    // What only a shell understands is no name.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.@".contains(c);
    if !beginning.chars().all(is_plain) || (!is_open && !linux::link::is_name(beginning)) {
        return None;
    }
    match (is_not, is_open) {
        (false, false) => Some(Out::Named(beginning.to_owned())),
        (true, false) => Some(Out::Not(beginning.to_owned())),
        (false, true) => Some(Out::Beginning(beginning.to_owned())),
        (true, true) => None,
    }
}

/// A network of the command's family, or an address.
fn network(text: &str, family: Family) -> Option<IpNet> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network.trunc(),
        Err(_) => IpNet::from(text.parse::<std::net::IpAddr>().ok()?),
    };
    (Family::of(network.addr()) == family).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = "iptables -A FORWARD -i %i -j ACCEPT; iptables -A FORWARD -o %i -j ACCEPT; \
                            iptables -t nat -A POSTROUTING -o eth+ -j MASQUERADE";

    fn rule(verb: Verb, family: Family, what: What) -> Rule {
        Rule { verb, family, what }
    }

    fn masquerade(out: Option<Out>) -> What {
        What::Masquerade { out, source: None }
    }

    #[test]
    fn the_commands_of_templates_are_recognised() {
        use Family::{V4, V6};
        use Verb::Delete;
        const ADD: Verb = Verb::Add(Spot::End);
        const INSERT: Verb = Verb::Add(Spot::Top);
        let eth = || masquerade(Some(Out::Beginning("eth".to_owned())));
        let named = |name: &str| masquerade(Some(Out::Named(name.to_owned())));
        let all = |verb| {
            vec![
                rule(verb, V4, What::Forward(Way::From)),
                rule(verb, V4, What::Forward(Way::To)),
                rule(verb, V4, eth()),
            ]
        };
        for (hook, rules) in [
            (TEMPLATE.to_owned(), all(ADD)),
            (TEMPLATE.replace("-A", "-D"), all(Delete)),
            (TEMPLATE.replace("%i", "wg0"), all(ADD)),
            (TEMPLATE.replace(';', " && ") + ";", all(ADD)),
            (
                TEMPLATE.replace("-A FORWARD", "-I FORWARD 1"),
                vec![
                    rule(INSERT, V4, What::Forward(Way::From)),
                    rule(INSERT, V4, What::Forward(Way::To)),
                    rule(ADD, V4, eth()),
                ],
            ),
            (TEMPLATE.replace("iptables", "/usr/sbin/iptables -w 5"), all(ADD)),
            (
                "ip6tables -t nat -A POSTROUTING -o ens3 -j MASQUERADE".to_owned(),
                vec![rule(ADD, V6, named("ens3"))],
            ),
            (
                "iptables -A POSTROUTING -t nat -j MASQUERADE".to_owned(),
                vec![rule(ADD, V4, masquerade(None))],
            ),
            (
                "iptables -t nat -I POSTROUTING ! -o %i -j MASQUERADE".to_owned(),
                vec![rule(INSERT, V4, masquerade(Some(Out::Not("wg0".to_owned()))))],
            ),
            (
                "iptables --table nat --append POSTROUTING --source 10.13.13.0/24 --out-interface eth0 --jump MASQUERADE"
                    .to_owned(),
                vec![rule(
                    ADD,
                    V4,
                    What::Masquerade {
                        out: Some(Out::Named("eth0".to_owned())),
                        source: Some("10.13.13.0/24".parse().unwrap()),
                    },
                )],
            ),
        ] {
            assert_eq!(recognise(&hook, "wg0"), Some(rules), "{hook}");
        }
    }

    #[test]
    fn one_strange_word_and_the_hook_is_the_shells() {
        for hook in [
            "",
            ";",
            "true",
            "ip route add 10.0.0.0/8 dev %i",
            "iptables",
            "iptables -A FORWARD -i %i",
            "iptables -A FORWARD -j ACCEPT",
            "iptables -A FORWARD -i eth0 -j ACCEPT",
            "iptables -A FORWARD -i %i -o eth0 -j ACCEPT",
            "iptables -A FORWARD -i %i -j DROP",
            "iptables -A FORWARD -i %i -i %i -j ACCEPT",
            "iptables -A INPUT -i %i -j ACCEPT",
            "iptables -A FORWARD ! -i %i -j ACCEPT",
            "iptables -A FORWARD -i %i -m conntrack --ctstate NEW -j ACCEPT",
            "iptables -t nat -A POSTROUTING -o $(route) -j MASQUERADE",
            "iptables -t nat -A POSTROUTING -o eth0 -j SNAT --to 192.0.2.1",
            "iptables -t nat -A POSTROUTING -s fd00::/8 -j MASQUERADE",
            "iptables -t mangle -A POSTROUTING -o eth0 -j MASQUERADE",
            "iptables -A FORWARD -i %i -j ACCEPT || true",
            "iptables -A FORWARD -i %i -j ACCEPT > /dev/null",
            "iptables -A FORWARD -i %i -j ACCEPT; sysctl net.ipv4.ip_forward=1",
            "nft add table inet filter",
        ] {
            assert_eq!(recognise(hook, "wg0"), None, "{hook}");
        }
    }
}
