//! The versions of the API that each provider has.

use super::fault::Refusal;

/// Versions by provider; a longer prefix of the path behind `providers` comes first.
const VERSIONS: &[(&str, &[&str])] = &[
    ("microsoft.compute/skus", &["2017-09-01", "2019-04-01", "2021-07-01"]),
    (
        "microsoft.compute/disks",
        &[
            "2019-03-01",
            "2019-07-01",
            "2019-11-01",
            "2020-05-01",
            "2020-06-30",
            "2020-09-30",
            "2020-12-01",
            "2021-04-01",
            "2021-08-01",
            "2021-12-01",
            "2022-03-02",
            "2022-07-02",
            "2023-01-02",
            "2023-04-02",
            "2023-10-02",
            "2024-03-02",
            "2025-01-02",
            "2026-03-02",
        ],
    ),
    (
        "microsoft.compute",
        &[
            "2019-03-01",
            "2019-07-01",
            "2019-12-01",
            "2020-06-01",
            "2020-12-01",
            "2021-03-01",
            "2021-04-01",
            "2021-07-01",
            "2021-11-01",
            "2022-03-01",
            "2022-08-01",
            "2022-11-01",
            "2023-03-01",
            "2023-07-01",
            "2023-09-01",
            "2024-03-01",
            "2024-07-01",
            "2024-11-01",
            "2025-04-01",
            "2026-04-01",
        ],
    ),
    (
        "microsoft.network",
        &[
            "2018-11-01",
            "2019-04-01",
            "2019-11-01",
            "2020-11-01",
            "2021-02-01",
            "2021-05-01",
            "2021-08-01",
            "2022-01-01",
            "2022-05-01",
            "2022-07-01",
            "2022-09-01",
            "2022-11-01",
            "2023-02-01",
            "2023-04-01",
            "2023-05-01",
            "2023-06-01",
            "2023-09-01",
            "2023-11-01",
            "2024-01-01",
            "2024-03-01",
            "2024-05-01",
            "2024-07-01",
            "2024-10-01",
            "2025-01-01",
            "2025-03-01",
            "2025-05-01",
            "2026-03-01",
        ],
    ),
    (
        "microsoft.containerinstance",
        &[
            "2018-10-01",
            "2019-12-01",
            "2020-11-01",
            "2021-03-01",
            "2021-07-01",
            "2021-09-01",
            "2021-10-01",
            "2022-09-01",
            "2023-05-01",
            "2025-09-01",
            "2026-07-01",
        ],
    ),
    ("microsoft.marketplaceordering", &["2015-06-01", "2021-01-01"]),
    (
        "microsoft.authorization",
        &["2015-07-01", "2018-01-01-preview", "2018-07-01", "2022-04-01"],
    ),
    (
        "",
        &[
            "2016-06-01",
            "2018-05-01",
            "2019-06-01",
            "2019-08-01",
            "2019-10-01",
            "2020-01-01",
            "2020-06-01",
            "2020-10-01",
            "2021-01-01",
            "2021-04-01",
            "2022-09-01",
            "2022-12-01",
            "2023-07-01",
            "2024-03-01",
            "2024-07-01",
            "2024-11-01",
            "2025-04-01",
        ],
    ),
];

/// Refuses a version that nobody has.
pub(super) fn check(version: &str, path: &[&str]) -> Result<(), Refusal> {
    if version.is_empty() {
        let message = "The api-version query parameter (?api-version=) is required for all requests.";
        return Err(Refusal::new(400, "MissingApiVersionParameter", message));
    }
    let at = path.iter().position(|segment| *segment == "providers");
    let provider = at.map_or_else(String::new, |at| path[at + 1..].join("/"));
    // Providers are the subscription's own affair: `/subscriptions/…/providers/Microsoft.Compute[/register]`.
    let is_own = at == Some(2) && path.len() <= 5 && (path.len() < 5 || path.get(4) == Some(&"register"));
    let provider = if is_own { "" } else { &provider };
    let known = VERSIONS.iter().find(|(prefix, _)| provider.starts_with(prefix));
    let (prefix, versions) = known.expect("all begin with nothing");
    // An operation is asked for at the address that was given.
    if versions.contains(&version) || path.contains(&"operations") || path.contains(&"operationresults") {
        return Ok(());
    }
    let supported = versions.join(",");
    Err(if prefix.is_empty() {
        let message = format!("The api-version '{version}' is invalid. The supported versions are '{supported}'.");
        Refusal::new(400, "InvalidApiVersionParameter", message)
    } else {
        let message = format!(
            "No registered resource provider found for API version '{version}' for '{provider}'. The supported api-versions are '{supported}'."
        );
        Refusal::new(400, "NoRegisteredProviderFound", message)
    })
}
