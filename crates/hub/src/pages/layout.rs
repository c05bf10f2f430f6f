//! The frame of every page: head, header, navigation, footer.

use maud::{DOCTYPE, Markup, html};

use super::{assets, icons};

/// Who looks at a page.
#[derive(Clone, Debug)]
pub(super) struct Viewer {
    /// The name that is shown.
    pub name: String,
    /// Whether pages for admins are offered.
    pub is_admin: bool,
    /// Proves that a form comes from this viewer's own page.
    pub csrf: String,
}

/// What the navigation offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    /// `/`
    Launch,
    /// `/history`
    History,
    /// `/tokens`
    Tokens,
    /// `/admin`
    Admin,
    /// `/admin/audit`
    Audit,
}

impl Tab {
    const ALL: [(Self, &'static str, &'static str, bool); 5] = [
        (Self::Launch, "/", "Launch", false),
        (Self::History, "/history", "History", false),
        (Self::Tokens, "/tokens", "Tokens", false),
        (Self::Admin, "/admin", "Admin", true),
        (Self::Audit, "/admin/audit", "Audit", true),
    ];
}

/// A page without its content.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// Shown by the browser, before the product's name.
    pub title: &'a str,
    /// Where the page is in the navigation.
    pub tab: Option<Tab>,
    /// `None`: nobody is signed in.
    pub viewer: Option<&'a Viewer>,
    /// The page's own module under `/assets/`.
    pub module: &'a str,
    /// Seconds after which a browser without scripts asks again; `None` is never.
    pub refresh_secs: Option<u32>,
}

impl<'a> Frame<'a> {
    /// A page that is like every other.
    pub(super) fn new(title: &'a str, tab: Option<Tab>, viewer: Option<&'a Viewer>) -> Self {
        Self {
            title,
            tab,
            viewer,
            module: "page.js",
            refresh_secs: None,
        }
    }

    /// The page with a module of its own.
    #[must_use]
    pub(super) fn with_module(self, module: &'a str) -> Self {
        Self { module, ..self }
    }

    /// The page that asks again by itself where there are no scripts.
    #[must_use]
    pub(super) fn with_refresh(self, refresh_secs: Option<u32>) -> Self {
        Self { refresh_secs, ..self }
    }

    /// The whole page.
    pub(super) fn render(&self, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="referrer" content="same-origin";
                    @if let Some(viewer) = self.viewer { meta name="csrf-token" content=(viewer.csrf); }
                    title { (self.title) " · adit" }
                    link rel="icon" href=(assets::url("favicon.svg")) type="image/svg+xml";
                    link rel="stylesheet" href=(assets::url("adit.css"));
                    @for name in assets::imports(self.module) { link rel="modulepreload" href=(assets::url(name)); }
                    script type="module" src=(assets::url(self.module)) {}
                    noscript {
                        link rel="stylesheet" href=(assets::url("noscript.css"));
                        @if let Some(secs) = self.refresh_secs { meta http-equiv="refresh" content=(secs); }
                    }
                }
                body {
                    a.skip href="#content" { "Skip to the content" }
                    (self.header())
                    main #content tabindex="-1" { (content) }
                    (footer())
                    div #announcer .unseen role="status" aria-live="polite" {}
                }
            }
        }
    }

    fn header(&self) -> Markup {
        html! {
            header.top {
                a.brand href="/" { (icons::mark()) span { "adit" } }
                @if let Some(viewer) = self.viewer {
                    nav aria-label="Main" {
                        @for (tab, address, name, is_for_admins) in Tab::ALL {
                            @if viewer.is_admin || !is_for_admins {
                                a href=(address) aria-current=[(self.tab == Some(tab)).then_some("page")] { (name) }
                            }
                        }
                    }
                    form.who method="post" action="/logout" {
                        (csrf(viewer))
                        span.soft { (viewer.name) }
                        button.quiet.small type="submit" { "Sign out" }
                    }
                }
            }
        }
    }
}

/// The field by which a form proves that it comes from the viewer's own page.
pub(super) fn csrf(viewer: &Viewer) -> Markup {
    html! { input type="hidden" name="csrf" value=(viewer.csrf); }
}

fn footer() -> Markup {
    html! {
        footer.foot {
            p {
                "A gateway removes itself when its time is over. "
                "Nothing on this page is loaded from anywhere else."
            }
        }
    }
}
