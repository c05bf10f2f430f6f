//! How to connect, for each system.

use launch::Lease;
use maud::{Markup, html};

/// The section with one part for each system, of which one is open.
pub(super) fn section(lease: &Lease) -> Markup {
    let file = lease.peers.first().map_or("phone", |peer| peer.name.as_str());
    html! {
        section.panel #connect aria-labelledby="connect-title" data-keep="connect" {
            h2 #connect-title { "How to connect" }
            p.soft { "Every device needs the WireGuard app, or any client that reads WireGuard's configuration files." }
            (system("ios", "iPhone and iPad", html! {
                li { "Install " strong { "WireGuard" } " from the App Store." }
                li {
                    "Press " strong { "+" } ", then " strong { "Create from QR code" }
                    ", and point the camera at the QR code of this device."
                }
                li { "Allow the VPN configuration, and switch the tunnel on." }
            }))
            (system("android", "Android", html! {
                li { "Install " strong { "WireGuard" } " from the Play Store or F-Droid." }
                li {
                    "Press " strong { "+" } ", then " strong { "Scan from QR code" }
                    ", and point the camera at the QR code of this device."
                }
                li { "Give the tunnel a name, and switch it on." }
            }))
            (system("windows", "Windows", html! {
                li { "Install " strong { "WireGuard" } " from wireguard.com/install." }
                li { "Press " strong { "Import tunnel(s) from file" } " and choose " code { (file) ".conf" } "." }
                li { "Press " strong { "Activate" } "." }
            }))
            (system("macos", "macOS", html! {
                li { "Install " strong { "WireGuard" } " from the App Store." }
                li { "Choose " strong { "Import tunnel(s) from file" } " and open " code { (file) ".conf" } "." }
                li { "Press " strong { "Activate" } "." }
            }))
            (system("linux", "Linux", html! {
                li {
                    "With adit: " code { "sudo adit up ./" (file) ".conf" }
                    ", and " code { "sudo adit down " (file) } " afterwards."
                }
                li { "With WireGuard's tools: " code { "sudo wg-quick up ./" (file) ".conf" } "." }
                li { "With NetworkManager: " code { "nmcli connection import type wireguard file " (file) ".conf" } "." }
            }))
        }
    }
}

fn system(id: &str, name: &str, steps: Markup) -> Markup {
    html! {
        details.system name="system" data-system=(id) {
            summary { (name) }
            ol { (steps) }
        }
    }
}
