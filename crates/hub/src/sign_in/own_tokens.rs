//! API tokens as people make, see and revoke them.

use std::collections::BTreeSet;

use super::{
    Asker, BY_COMMAND, LOCAL, NewToken, Secret, SignIn, TablesError, Token, TokenRefusal,
    account::{self, Known},
    local, outcome, token,
};
use crate::identity::{CameBy, Identity, Role};

impl SignIn {
    /// The caller's tokens, the newest first, and those that are over, too.
    ///
    /// # Errors
    ///
    /// [`TokenRefusal`]; a token sees no tokens.
    pub async fn tokens(&self, identity: &Identity) -> Result<Vec<Token>, TokenRefusal> {
        self.check_may_have_tokens(identity)?;
        let subject = identity.subject.clone();
        self.tables.read(move |tables| Ok(token::of(tables, &subject)?)).await
    }

    /// Makes a token. The second value is shown to the caller now, and to nobody ever again.
    ///
    /// # Errors
    ///
    /// [`TokenRefusal`].
    pub async fn create_token(
        &self,
        identity: &Identity,
        new: NewToken,
        asker: &Asker,
    ) -> Result<(Token, Secret), TokenRefusal> {
        self.check_may_have_tokens(identity)?;
        new.check(identity.is_admin())?;
        self.keep_token(&identity.subject, identity.subject.clone(), new, asker)
            .await
    }

    /// Makes a token from the command line, for a hub whose people have tokens and nothing else. Its account is
    /// `token:OWNER`, which has these roles from here on, in all its tokens. The audit names `operator` for it: who runs the
    /// command. A hub may run beside it, and audit meanwhile: both read the last row in the transaction that adds theirs.
    ///
    /// # Errors
    ///
    /// [`TokenRefusal`].
    pub async fn create_token_by_command(
        &self,
        operator: &str,
        owner: &str,
        roles: BTreeSet<Role>,
        new: NewToken,
    ) -> Result<(Token, Secret), TokenRefusal> {
        if !self.takes_tokens {
            return Err(TokenRefusal::Off);
        }
        new.check(roles.contains(&Role::Admin))?;
        let known = Known {
            subject: format!("{BY_COMMAND}:{owner}"),
            realm: BY_COMMAND.to_owned(),
            name: owner.to_owned(),
            email: String::new(),
            roles,
        };
        let subject = known.subject.clone();
        self.keep_account(operator, known).await?;
        self.keep_token(operator, subject, new, &Asker::default()).await
    }

    /// Keeps an account of the command line's; that its roles change is in the audit.
    async fn keep_account(&self, operator: &str, known: Known) -> Result<(), TokenRefusal> {
        let wanted = known.subject.clone();
        let before = self.tables.read(move |tables| Ok(account::find(tables, &wanted)?));
        let before: Option<account::Account> = before.await.map_err(TokenRefusal::Tables)?;
        let changes = before.as_ref().is_none_or(|before| before.roles != known.roles);
        let intent = if changes {
            let entry = Asker::default().entry(operator, "account.roles", &known.subject);
            Some(self.audit.intend(entry).await?)
        } else {
            None
        };
        let roles = |roles: &BTreeSet<Role>| account::words(roles.iter().map(|role| role.as_str()));
        let detail = match before {
            Some(before) => format!("{} instead of {}", roles(&known.roles), roles(&before.roles)),
            None => format!("{}, new", roles(&known.roles)),
        };
        let now = self.clock.now();
        let kept = self
            .tables
            .write(move |tables| Ok(account::keep(tables, &known, now)?))
            .await;
        if let Some(intent) = intent {
            match &kept {
                Ok(_) => intent.done("ok", detail).await,
                Err(error) => intent.done("failed", TablesError::to_string(error)).await,
            }
        }
        kept.map(|_| ()).map_err(TokenRefusal::Tables)
    }

    /// Revokes a token of the caller's, or as an admin anybody's. A token may revoke itself.
    ///
    /// # Errors
    ///
    /// [`TokenRefusal`].
    pub async fn revoke_token(&self, identity: &Identity, id: &str, asker: &Asker) -> Result<(), TokenRefusal> {
        let is_itself = matches!(&identity.came_by, CameBy::Token { id: own } if own == id);
        if !is_itself && !identity.is_admin() {
            self.check_may_have_tokens(identity)?;
        }
        let (wanted, subject, is_admin) = (id.to_owned(), identity.subject.clone(), identity.is_admin());
        let found = self.tables.read(move |tables| Ok(token::by_id(tables, &wanted)?)).await;
        let found = found.map_err(|error: TablesError| TokenRefusal::Tables(error))?;
        found
            .filter(|(_, owner)| is_admin || *owner == subject)
            .ok_or(TokenRefusal::NotFound)?;
        let intent = self
            .audit
            .intend(asker.entry(&identity.subject, "token.revoke", id))
            .await?;
        let (id, now) = (id.to_owned(), self.clock.now());
        let revoked = self
            .tables
            .write(move |tables| Ok(token::revoke(tables, &id, now)?))
            .await;
        intent.done(outcome(&revoked), "").await;
        revoked
    }

    fn check_may_have_tokens(&self, identity: &Identity) -> Result<(), TokenRefusal> {
        if !self.takes_tokens {
            return Err(TokenRefusal::Off);
        }
        match identity.came_by {
            CameBy::Cookie { .. } | CameBy::Printed => Ok(()),
            CameBy::Token { .. } => Err(TokenRefusal::ByToken),
        }
    }

    /// Keeps a token of `subject`'s that `who` makes.
    async fn keep_token(
        &self,
        who: &str,
        subject: String,
        new: NewToken,
        asker: &Asker,
    ) -> Result<(Token, Secret), TokenRefusal> {
        let text = token::random()?;
        let of = if who == subject {
            String::new()
        } else {
            format!("{subject}'s ")
        };
        let intent = self.audit.intend(asker.entry(who, "token.create", "")).await?;
        let (secret, now) = (text.clone(), self.clock.now());
        // Whoever came by the printed token itself has signed in nowhere.
        let local = (subject == LOCAL).then(local);
        let kept = self.tables.write(move |tables| {
            if let Some(local) = local {
                account::keep(tables, &local, now)?;
            }
            token::add(tables, &secret, &subject, &new, now)
        });
        let kept = kept.await;
        match &kept {
            Ok(token) => {
                let scopes = account::words(token.scopes.iter().map(|scope| scope.as_str()));
                let detail = format!("{of}`{}` for {scopes}, until {}", token.name, token.expires_at);
                intent.done_on(Some(token.id.clone()), "ok", detail).await;
            }
            Err(refusal) => intent.done("refused", refusal.to_string()).await,
        }
        Ok((kept?, text))
    }
}
