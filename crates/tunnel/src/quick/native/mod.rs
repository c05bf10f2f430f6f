//! Does by nf_tables what templates ask of `iptables`: the commands that [`recognise`] knows.
//!
//! The rules lie in a table of the tunnel's, `adit-NAME`, and go with it. FORWARD rules matter only where iptables has its
//! chain; there they are made as guests, with a comment.

mod recognise;

use linux::{
    Family,
    netlink::Error,
    nftables::{
        self, Batch, Chain, ChainType, Hook, Nftables, Policy, TableFamily,
        guest::{self, Spot, Way},
        wall::{self, Wall},
    },
};

use self::recognise::{Out, Rule, Verb, What, recognise};

/// `NF_IP_PRI_NAT_SRC`.
const SOURCE_NAT: i32 = 100;

const CHAIN: &str = "out";

fn table(name: &str) -> String {
    format!("adit-{name}")
}

/// Whether all commands of a hook are ones that adit does itself.
pub fn is_native(hook: &str, name: &str) -> bool {
    recognise(hook, name).is_some()
}

/// Does the hooks' commands that add rules, all at once; those that delete rules are done by [`remove`].
pub(super) fn add<'a>(hooks: impl IntoIterator<Item = &'a String>, name: &str) -> Result<(), Error> {
    let rules = hooks.into_iter().filter_map(|hook| recognise(hook, name)).flatten();
    let rules: Vec<_> = rules.filter(|rule| rule.verb != Verb::Delete).collect();
    if rules.is_empty() {
        return Ok(());
    }
    let mut nftables = Nftables::open()?;
    let mut batch = Batch::new();
    let (family, table) = (TableFamily::Inet, table(name));
    batch.remove_table(family, &table);
    batch.add_table(family, &table, &guest::Label::new(name, &[]).to_string());
    let base = Chain {
        kind: ChainType::Nat,
        hook: Hook::Postrouting,
        priority: SOURCE_NAT,
        policy: Policy::Accept,
    };
    batch.add_chain(family, &table, CHAIN, Some(base));
    for rule in &rules {
        if let What::Masquerade { out, source } = &rule.what {
            let mut made = match out {
                None => nftables::Rule::new(),
                Some(Out::Named(name)) => nftables::Rule::new().to_interface(name),
                Some(Out::Beginning(beginning)) => nftables::Rule::new().to_interfaces(beginning),
                Some(Out::Not(name)) => nftables::Rule::new().not_to_interface(name),
            };
            made = made.family(rule.family);
            if let Some(source) = source {
                made = made.from_network(*source);
            }
            batch.add_rule(family, &table, CHAIN, &made.masquerade());
        }
    }
    let accepted: Vec<(Family, Way, Spot)> = rules
        .iter()
        .filter_map(|rule| match (&rule.what, rule.verb) {
            (What::Forward(way), Verb::Add(spot)) => Some((rule.family, *way, spot)),
            _ => None,
        })
        .collect();
    batch.append(guest::accept(&mut nftables, name, &accepted)?);
    nftables.commit(&batch, || format!("making the table {table}"))
}

/// What is in the way of packets that hooks want forwarded, although the rules of [`add`] are there.
pub(super) fn walls<'a>(hooks: impl IntoIterator<Item = &'a String>, name: &str) -> Result<Vec<Wall>, Error> {
    let forwarded = forwarded(hooks, name);
    if forwarded.is_empty() {
        return Ok(Vec::new());
    }
    wall::find(&mut Nftables::open()?, name, &forwarded)
}

/// The families for which hooks want packets forwarded.
fn forwarded<'a>(hooks: impl IntoIterator<Item = &'a String>, name: &str) -> Vec<Family> {
    let rules: Vec<Rule> = hooks
        .into_iter()
        .filter_map(|hook| recognise(hook, name))
        .flatten()
        .collect();
    let forwards = |family: &Family| {
        rules
            .iter()
            .any(|rule| rule.family == *family && matches!(rule.what, What::Forward(_)))
    };
    Family::ALL.into_iter().filter(forwards).collect()
}

/// Whether hooks are better left to the shell, although all their commands are known: the old iptables has rules here,
/// where its program can do what nf_tables cannot.
pub fn is_shells<'a>(hooks: impl IntoIterator<Item = &'a String>, name: &str) -> bool {
    has_program("sh")
        && forwarded(hooks, name).into_iter().any(|family| {
            let program = match family {
                Family::V4 => "iptables",
                Family::V6 => "ip6tables",
            };
            wall::has_legacy_filter(family) && has_program(program)
        })
}

/// Whether the shell would find a program.
fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// Whether the tunnel's commands were done natively.
pub(super) fn is_there(name: &str) -> bool {
    let tables = Nftables::open().and_then(|mut nftables| nftables.tables());
    tables.is_ok_and(|tables| tables.iter().any(|found| is_ours(found, name)))
}

/// Removes the rules of a tunnel, if there are any.
pub(super) fn remove(name: &str) -> Result<(), Error> {
    let Ok(mut nftables) = Nftables::open() else {
        return Ok(());
    };
    let Ok(tables) = nftables.tables() else {
        return Ok(());
    };
    if !tables.iter().any(|found| is_ours(found, name)) {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.remove_table(TableFamily::Inet, &table(name));
    batch.append(guest::dismiss(&mut nftables, |of| of == name)?);
    nftables.commit(&batch, || format!("removing the table {}", table(name)))
}

fn is_ours(found: &nftables::FoundTable, name: &str) -> bool {
    found.family == TableFamily::Inet && found.name == table(name)
}

#[cfg(test)]
mod tests {
    use linux::netns::Namespace;

    use super::*;

    #[test]
    fn the_templates_commands_become_a_table_that_goes_again() {
        netlab::requires!("root", "nft", "iptables");
        let run = |program: &str, arguments: &[&str]| {
            let output = std::process::Command::new(program).args(arguments).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let hooks = [
            "iptables -A FORWARD -i %i -j ACCEPT; iptables -A FORWARD -o %i -j ACCEPT".to_owned(),
            "true".to_owned(),
            "iptables -t nat -A POSTROUTING -o eth+ -j MASQUERADE".to_owned(),
            "ip6tables -t nat -A POSTROUTING -s fd00::/8 ! -o %i -j MASQUERADE".to_owned(),
        ];
        Namespace::anonymous()
            .unwrap()
            .run(|| {
                run("iptables", &["-P", "FORWARD", "DROP"]);
                let before = run("nft", &["list", "ruleset"]);
                for _ in 0..2 {
                    remove("wg0").unwrap();
                    add(&hooks, "wg0").unwrap();
                }
                assert!(is_there("wg0") && !is_there("wg1"));
                assert_eq!(
                    run("nft", &["list", "chain", "inet", "adit-wg0", "out"]),
                    "table inet adit-wg0 {\n\
                     \tchain out {\n\
                     \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
                     \t\toifname \"eth*\" meta nfproto ipv4 masquerade\n\
                     \t\toifname != \"wg0\" ip6 saddr fd00::/8 masquerade\n\
                     \t}\n\
                     }\n"
                );
                let forward = run("iptables", &["-S", "FORWARD"]);
                assert_eq!(
                    forward,
                    "-P FORWARD DROP\n\
                     -A FORWARD -i wg0 -m comment --comment \"adit wg0\" -j ACCEPT\n\
                     -A FORWARD -o wg0 -m comment --comment \"adit wg0\" -j ACCEPT\n"
                );
                remove("wg0").unwrap();
                assert_eq!(run("nft", &["list", "ruleset"]), before);
            })
            .unwrap();
    }

    #[test]
    fn an_inserted_rule_comes_first_and_an_appended_one_before_what_rejects_the_rest() {
        netlab::requires!("root", "iptables");
        let run = |arguments: &str| {
            let output = std::process::Command::new("iptables")
                .args(arguments.split(' '))
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let hooks = [
            "iptables -A FORWARD -i %i -j ACCEPT; iptables -I FORWARD -o %i -j ACCEPT".to_owned(),
            "ip6tables -A FORWARD -i %i -j ACCEPT".to_owned(),
        ];
        Namespace::anonymous()
            .unwrap()
            .run(|| {
                run("-A FORWARD -s 192.0.2.1/32 -j DROP");
                run("-A FORWARD -j DROP");
                let before = run("-S");
                add(&hooks, "wg0").unwrap();
                assert_eq!(
                    run("-S FORWARD"),
                    "-P FORWARD ACCEPT\n\
                     -A FORWARD -o wg0 -m comment --comment \"adit wg0\" -j ACCEPT\n\
                     -A FORWARD -s 192.0.2.1/32 -j DROP\n\
                     -A FORWARD -i wg0 -m comment --comment \"adit wg0\" -j ACCEPT\n\
                     -A FORWARD -j DROP\n"
                );
                assert_eq!(walls(&hooks, "wg0").unwrap(), []);
                remove("wg0").unwrap();
                assert_eq!(run("-S"), before);
            })
            .unwrap();
    }
}
