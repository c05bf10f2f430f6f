//! The arguments as typed: names, descriptions and the list of subcommands.

use clap::{Parser, Subcommand};

use crate::command::{
    ask, attach, completions, device, doctor, down, health, hub, launch, link, man, node, peer, serve, show, show_peer,
    up,
};

/// Brings WireGuard to containers: gateways, tunnels and keys from one binary.
///
/// Needs no root, no kernel module and no TUN device; uses them where they are there.
#[derive(Debug, Parser)]
#[command(
    name = "adit",
    version,
    max_term_width = 100,
    propagate_version = true,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Start here: `adit launch` makes a gateway on this machine and prints its QR code.\n\
                        Will it work here? `adit doctor` says."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do; each has a file of its own in `command/`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a gateway on this machine that is gone when its time is over.
    ///
    /// Needs no privilege. Writes one configuration for each peer, shows it as a QR code, and any WireGuard client that
    /// imports it reaches the Internet through this machine, until the lifetime is over or Ctrl-C ends it.
    Launch(Box<launch::Arguments>),
    /// Runs a gateway for good, its peers in a directory.
    ///
    /// Reads the environment variables of linuxserver/wireguard and keeps keys and configurations in its layout. What
    /// the directory holds is kept over restarts, so that clients go on by themselves.
    Serve(Box<serve::Arguments>),
    /// Adds, changes, removes and shows the peers of a gateway that runs.
    ///
    /// Speaks to `adit serve`. Nothing is restarted, and nobody else's tunnel drops.
    Peer(peer::Arguments),
    /// Says whether the running gateway does its work.
    ///
    /// Asks `adit serve` on this machine through its control socket and prints one line. Serves as the health check of a
    /// container.
    Health(health::Arguments),
    /// Says what works on this machine, and what is missing for the rest.
    Doctor(doctor::Arguments),
    /// Serves a web page and an API by which people launch gateways, which are gone when their time is over.
    ///
    /// On this machine alone unless told otherwise: prints the link that signs in. Gateways run as processes here, in
    /// containers, or nowhere, to try it out. A hub that others reach has people sign in by OpenID Connect or API tokens.
    Hub(Box<hub::Arguments>),
    /// Gives labelled containers a WireGuard tunnel as their only way out.
    ///
    /// Watches Docker. A container with the label adit.enable=true keeps its own network namespace, and nothing leaves it
    /// but by its tunnel and to its neighbours: not before the tunnel is there, and not when it drops.
    Attach(Box<attach::Arguments>),
    /// Lets containers on different hosts talk, paired by one token.
    ///
    /// `adit link create blue` here and `adit link join TOKEN` there: blue is then a Docker network on both hosts, whose
    /// containers reach each other through a tunnel by their own addresses, and by name.
    Link(Box<link::Arguments>),
    /// Brings a tunnel up from its configuration file.
    ///
    /// Does what `wg-quick up` does, without its programs: interface, keys and peers, addresses, MTU, routes, resolvers,
    /// and the configuration's own commands.
    Up(up::Arguments),
    /// Takes a tunnel down and clears away all that belongs to it.
    ///
    /// Works after a crash, too.
    Down(down::Arguments),
    /// Says what tunnels there are and how they are.
    ///
    /// Prints what `wg show` prints, of adit's tunnels and of all others that have a socket in /var/run/wireguard.
    Show(show::Arguments),
    /// Shows the QR codes of a gateway's peers, as linuxserver's image does under this name.
    #[command(hide = true)]
    ShowPeer(show_peer::Arguments),
    /// Makes a bare interface that `wg` configures, as wireguard-go does.
    ///
    /// Goes on in the background, until the interface or its socket is removed. Under the name adit-device it serves
    /// wg-quick: `WG_QUICK_USERSPACE_IMPLEMENTATION=adit-device wg-quick up wg0`.
    Device(device::Arguments),
    /// Runs the gateway of a lease for its launcher, which tells it what it is to be.
    #[command(hide = true)]
    Node(Box<node::Arguments>),
    /// Asks the gateway of a lease one question, as its launcher does.
    #[command(hide = true)]
    Ask(ask::Arguments),
    /// Makes a private key and prints it.
    ///
    /// Prints 44 characters of base64 to standard output, as `wg genkey` does. Keep them in a file that only
    /// you can read: `(umask 077; adit genkey > privatekey)`.
    Genkey,
    /// Reads a private key from standard input and prints its public key.
    ///
    /// As `wg pubkey` does: `adit pubkey < privatekey > publickey`.
    Pubkey,
    /// Makes a preshared key and prints it.
    ///
    /// Prints 44 characters of base64 to standard output, as `wg genpsk` does.
    Genpsk,
    /// Prints the completions for a shell.
    Completions(completions::Arguments),
    /// Prints the manual page, or writes one page for each subcommand.
    Man(man::Arguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::snapshot;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_is_what_it_was() {
        let mut command = Cli::command().term_width(100);
        command.build();
        snapshot::check("help/adit.txt", &command.render_long_help().to_string());
        for subcommand in command.get_subcommands_mut() {
            let name = format!("help/{}.txt", subcommand.get_name());
            snapshot::check(&name, &subcommand.render_long_help().to_string());
            let outer = subcommand.get_name().to_owned();
            for inner in subcommand.get_subcommands_mut() {
                let name = format!("help/{outer}-{}.txt", inner.get_name());
                snapshot::check(&name, &inner.render_long_help().to_string());
            }
        }
    }

    #[test]
    fn every_environment_variable_is_in_the_documentation() {
        let mut text = String::from(
            "# Environment variables\n\nAn argument wins over its variable.\n\n## Arguments\n\n\
             | variable | argument | commands |\n|---|---|---|\n",
        );
        let mut arguments = std::collections::BTreeMap::<_, Vec<String>>::new();
        for command in Cli::command().get_subcommands() {
            let inner = command.get_subcommands().flat_map(clap::Command::get_arguments);
            for argument in command.get_arguments().chain(inner) {
                if let (Some(variable), Some(long)) = (argument.get_env(), argument.get_long()) {
                    let key = (variable.to_string_lossy().into_owned(), long.to_owned());
                    let commands = arguments.entry(key).or_default();
                    let name = format!("`{}`", command.get_name());
                    if !commands.contains(&name) {
                        commands.push(name);
                    }
                }
            }
        }
        for ((variable, long), commands) in arguments {
            text += &format!("| `{variable}` | `--{long}` | {} |\n", commands.join(", "));
        }
        text += "\n`NOTIFY_SOCKET`, as systemd sets it, is told when `adit serve` is ready and when it stops, and when `adit hub` answers.\n\n\
            `ADIT_HUB_TOKEN` is a personal token for `adit launch --hub`, unless `--hub-token-file` names its file. `DRY_RUN=true` lets\n\
            `adit launch` launch nothing, too, whatever `--on` says.\n\n\
                 `ADIT_LANES`, of whatever command brings up a tunnel on the tun plane, is how many lanes it has, 1 to 64: each is two\n\
                 threads, a queue of the TUN device and a pair of UDP sockets. Without it there is one lane for every two processors, at\n\
                 least 1 and at most 16. A wrong value is an error on every plane.\n\n\
                 `ADIT_STATE_KEY` is the key with which `adit node --state` seals what it keeps: 32 bytes in base64, as `adit genpsk` prints\n\
                 them. It has no argument, for arguments are seen by others. With another key than the one before, the gateway does not start,\n\
                 and nothing is overwritten.\n\n\
                 `AZURE_STORAGE_CONNECTION_STRING` lets `adit node --state blob:…` come to the container: of the storage account's page\n\
                 `Access keys`, or with `BlobEndpoint` and `SharedAccessSignature` (read, write, create and delete), or\n\
                 `UseDevelopmentStorage=true` for Azurite. Without it the gateway is there as the identity that its platform gives to it, or\n\
                 that `AZURE_CLIENT_ID` and its kin name, which needs the role `Storage Blob Data Contributor` on the container.\n\n\
                 Places at Azure, of `adit launch` and `adit hub`, read what their settings leave out: `AZURE_SUBSCRIPTION_ID`,\n\
                 `ADIT_AZURE_GROUP` (the resource group), `ADIT_AZURE_MANAGEMENT_URL` (where Resource Manager is reached, such as by a private\n\
                 link), and secrets that are in no file: `ADIT_AZURE_REGISTRY_PASSWORD`, `ADIT_AZURE_STORAGE_KEY`, `ADIT_AZURE_WORKSPACE_KEY`,\n\
                 `ADIT_STATE_KEY` and `AZURE_STORAGE_CONNECTION_STRING` for the gateways' own. Who adit is to Azure, the variables of Microsoft's\n\
                 own programs say: `AZURE_TENANT_ID`, `AZURE_CLIENT_ID`, `AZURE_CLIENT_SECRET` (or `AZURE_CLIENT_SECRET_FILE`),\n\
                 `AZURE_FEDERATED_TOKEN_FILE`, `AZURE_AUTHORITY_HOST`, `IDENTITY_ENDPOINT` with `IDENTITY_HEADER`, and\n\
                 `AZURE_POD_IDENTITY_AUTHORITY_HOST`.\n\n\
                 ## Gateways, in the form of linuxserver/wireguard\n\nRead by `adit serve`.\n\n\
                 | variable | default | meaning |\n|---|---|---|\n";
        for variable in gateway::environment::VARIABLES {
            text += &format!(
                "| `{}` | {} | {} |\n",
                variable.name, variable.default, variable.meaning
            );
        }
        snapshot::check("../../../../docs/environment.md", &text);
    }
}
