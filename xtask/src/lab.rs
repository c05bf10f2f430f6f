//! What of the lab runs once more on a plane with an interface.

/// The program of tests between hosts.
pub(crate) const NAME: &str = "adit: lab";

/// What tells its tests which plane to use, if not netstack.
pub(crate) const PLANE: &str = "ADIT_TEST_PLANE";

/// What tells a tunnel on the tun plane how many lanes to have: the lab's machines are too small for more than one.
pub(crate) const LANES: &str = "ADIT_LANES";

/// Parts of the names of its tests that are about one plane, or about none.
pub(crate) const OF_ONE_PLANE: &[&str] = &[
    "access::",
    "device::",
    "doctor::",
    "redial::",
    "tunnels_come_up_in_order",
    "a_failed_tunnel",
    "without_ping_sockets",
];

/// And of those that run on an interface's plane as they are.
pub(crate) const NOT_TWICE: &[&str] = &["link::"];

/// What the lab on the tun plane is called in the summary.
pub(crate) const ON_TUN: &str = "adit: lab on the tun plane, in two lanes";

/// What makes a program leave out the tests with one of these `parts` in their names.
pub(crate) fn without(parts: &'static [&str]) -> impl Iterator<Item = &'static str> {
    parts.iter().flat_map(|part| ["--skip", part])
}
