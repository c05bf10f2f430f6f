//! The page on which people sign in.

use maud::{Markup, html};

use super::layout::Frame;

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct LoginPage {
    /// Whether the token that was printed at the start signs in.
    pub takes_token: bool,
    /// Where to begin with an identity provider, and its name for people.
    pub provider: Option<(String, String)>,
    /// Where to go afterwards: a path of this hub.
    pub next: String,
    /// Why the last try failed.
    pub problem: Option<String>,
    /// What went well.
    pub note: Option<String>,
    /// A hidden field of the form: its name and value.
    pub hidden: Option<(String, String)>,
}

impl LoginPage {
    /// The whole page.
    pub fn render(&self) -> Markup {
        let content = html! {
            div.login {
                h1 { "Sign in" }
                @if let Some(problem) = &self.problem {
                    div.note.bad role="alert" { p { strong { "Not signed in. " } (problem) } }
                }
                @if let Some(note) = &self.note { div.note.good role="status" { p { (note) } } }
                @if let Some((address, name)) = &self.provider {
                    div.panel {
                        p { "Your account at " (name) " opens this hub." }
                        a.button.primary.wide href=(address) { "Sign in with " (name) }
                    }
                }
                @if self.takes_token {
                    form.panel.stack method="post" action="/login" {
                        @if let Some((name, value)) = &self.hidden { input type="hidden" name=(name) value=(value); }
                        input type="hidden" name="next" value=(self.next);
                        div.field {
                            label for="token" { "Token" }
                            input #token .mono name="token" type="password" required autofocus autocomplete="off"
                                spellcheck="false" aria-describedby="token-hint";
                            p.hint #token-hint {
                                "It was printed in the terminal when " code { "adit hub" } " started. The whole address that was "
                                "printed there opens this page without asking."
                            }
                        }
                        button.primary type="submit" { "Sign in" }
                    }
                }
            }
        };
        Frame::new("Sign in", None, None).render(&content)
    }
}
