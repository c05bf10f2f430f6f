//! The commands that a gateway's template adds to its own: `PreUp`, `PostUp`, `PreDown`, `PostDown`.

use std::path::Path;

use tunnel::{
    Plane,
    quick::{HookError, hook, is_native, is_shells},
};

/// Runs a template's commands that are not the gateway's business anyhow: forwarding and masquerading are, and need no
/// command, but where the old iptables has rules that only its program can change. `word` is the commands' key, `file` is
/// where they stand.
///
/// The netstack plane has no interface that a command could be about: there `say` is told what is left out.
///
/// # Errors
///
/// [`HookError`] for the first that fails, or that needs a shell where there is none.
pub fn run(
    plane: Plane,
    word: &'static str,
    commands: &[String],
    (interface, file): (&str, &Path),
    say: &mut dyn FnMut(&str),
) -> Result<(), HookError> {
    let is_ours = |command: &&String| is_native(command, interface) && !is_shells([*command], interface);
    for command in commands.iter().filter(|command| !is_ours(command)) {
        if plane == Plane::Netstack {
            say(&format!(
                "note: {word} = {command}: not run, as the netstack plane has no interface"
            ));
        } else {
            hook::run(word, command, (interface, file), None, say)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_template_s_own_commands_are_run() {
        let commands = [
            "iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth+ -j MASQUERADE",
            "true %i",
        ]
        .map(str::to_owned);
        for (plane, expected) in [
            (Plane::Tun, "true wg0"),
            (Plane::Kernel, "true wg0"),
            (
                Plane::Netstack,
                "note: PostUp = true %i: not run, as the netstack plane has no interface",
            ),
        ] {
            let mut said = Vec::new();
            let place = ("wg0", Path::new("/config/wg_confs/wg0.conf"));
            run(plane, "PostUp", &commands, place, &mut |line| {
                said.push(line.to_owned())
            })
            .unwrap();
            assert_eq!(said, [expected]);
        }
        let place = ("wg0", Path::new("/config/wg_confs/wg0.conf"));
        let failing = ["exit 3".to_owned()];
        assert!(run(Plane::Tun, "PostUp", &failing, place, &mut |_| {}).is_err());
        assert!(run(Plane::Netstack, "PostUp", &failing, place, &mut |_| {}).is_ok());
    }
}
