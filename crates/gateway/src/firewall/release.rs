//! What this kernel's nf_tables does not know.

/// Whether the kernel knows, where a packet leaves, by which interface it came: from Linux 5.5 on. Before that
/// the condition never holds.
pub(super) fn knows_interface_at_the_end() -> bool {
    let system = rustix::system::uname();
    is_at_least(&system.release().to_string_lossy(), (5, 5))
}

/// Whether a kernel's release, such as `5.4.0-216-generic`, is this one or a later one. What cannot be read is later.
fn is_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= wanted,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_compared_by_its_numbers() {
        for (release, is_later) in [
            ("4.19.0-27-amd64", false),
            ("5.4.0-216-generic", false),
            ("5.5.0", true),
            ("5.10.223", true),
            ("6.1", true),
            ("10.0-rc1", true),
            ("unknown", true),
        ] {
            assert_eq!(is_at_least(release, (5, 5)), is_later, "{release}");
        }
    }
}
