//! What a process holds: descriptors, memory, threads.

use std::os::unix::fs::MetadataExt as _;

/// One process and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number.
    pub pid: i32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// How many descriptors it has open.
    pub descriptors: usize,
    /// What it keeps in memory, in KiB (`VmRSS`).
    pub resident_kib: u64,
    /// How many threads it has.
    pub threads: u64,
    /// The effective capabilities (`CapEff`).
    pub capabilities: u64,
}

impl Account {
    /// What the process `pid` holds; `None` if there is none or it has ended.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        if field("State").is_some_and(|state| state.starts_with(['Z', 'X'])) {
            return None;
        }
        let number = |name: &str| field(name).and_then(|text| text.split_whitespace().next()?.parse().ok());
        Some(Self {
            pid,
            name: field("Name")?.to_owned(),
            descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count),
            resident_kib: number("VmRSS").unwrap_or(0),
            threads: number("Threads").unwrap_or(0),
            capabilities: u64::from_str_radix(field("CapEff")?, 16).ok()?,
        })
    }
}

/// The name of the variable by which a process of a lab tells whose it is.
pub(crate) const OWNER: &str = "NETLAB_OWNER";

/// The processes of labs whose test was killed before it could clean up: daemons, which do not die with their parent.
pub(crate) fn orphans() -> Vec<Account> {
    accounts(|pid| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let owner = environment.split(|byte| *byte == 0).find_map(|variable| {
            let text = std::str::from_utf8(variable).ok()?;
            text.strip_prefix(OWNER)?.strip_prefix('=')?.parse().ok()
        });
        owner.is_some_and(|owner| Account::of(owner).is_none())
    })
}

/// The processes whose network namespace is `namespace`, by its inode; this process is left out.
#[must_use]
pub fn processes_in(namespace: u64) -> Vec<Account> {
    accounts(|pid| std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|meta| meta.ino() == namespace))
}

/// The processes for whose number `wanted` holds; this process is left out.
#[must_use]
pub fn accounts(wanted: impl Fn(i32) -> bool) -> Vec<Account> {
    let me = i32::try_from(std::process::id()).ok();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| Some(*pid) != me && wanted(*pid))
        .filter_map(Account::of)
        .collect()
}
