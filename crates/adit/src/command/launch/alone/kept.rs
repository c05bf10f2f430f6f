//! A place as each lease is at it: by what it was launched with.
//!
//! That is kept beside the lease before anything is made: whoever takes the lease over finds its gateway, whatever the own
//! options of that command say.

use std::{
    collections::HashMap,
    fmt::Debug,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use async_trait::async_trait;
use launch::{
    LeaseId, State,
    node::Question,
    place::{Creation, Description, Fault, FaultKind, Job, Place, Reached, Removal},
    store::Store,
};
use serde::{Serialize, de::DeserializeOwned};

use super::Book;

/// What a lease was launched with. No secret is in it.
pub(crate) trait Launched: Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The place, for a new lease.
    fn open(&self, book: &Book) -> anyhow::Result<Arc<dyn Place>>;

    /// The place, for a lease that was launched before. What only a new one needs may be missing.
    fn open_again(&self, book: &Book) -> anyhow::Result<Arc<dyn Place>> {
        self.open(book)
    }

    /// Where it is: leases that are at the same one are asked for at once.
    fn site(&self) -> String;

    /// Whether nobody is there, so that it need not be waited for.
    fn is_absent(&self) -> bool {
        false
    }
}

/// The place of all leases that were launched so.
#[derive(Debug)]
pub(crate) struct Kept<L> {
    book: Book,
    description: Description,
    /// How new leases are launched; `None`: none is.
    given: Option<L>,
    new: Option<Arc<dyn Place>>,
    known: Mutex<HashMap<LeaseId, Arc<dyn Place>>>,
}

impl<L: Launched> Kept<L> {
    /// Those of the leases in a book, and the one at which new ones are launched.
    pub(crate) fn new(book: Book, given: L) -> anyhow::Result<Self> {
        let new = given.open(&book)?;
        Ok(Self {
            description: new.describe(),
            given: Some(given),
            new: Some(new),
            book,
            known: Mutex::default(),
        })
    }

    /// Those of the leases in a book alone: none is launched.
    pub(crate) fn without(book: Book, description: Description) -> Self {
        Self {
            book,
            description,
            given: None,
            new: None,
            known: Mutex::default(),
        }
    }

    /// The place of a lease: the one that is kept, else where it was seen, else the one of new leases.
    fn of(&self, id: LeaseId) -> Result<Arc<dyn Place>, Fault> {
        let known = |known: &HashMap<LeaseId, Arc<dyn Place>>| known.get(&id).cloned();
        if let Some(place) = known(&self.known.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(place);
        }
        let Some(launched) = self.book.kept::<L>(id).map_err(|error| unreadable(&error))? else {
            return self.new.clone().ok_or_else(|| {
                unknown("nothing is kept of how the lease was launched").with_remedy(format!(
                    "remove what is left of it at {} by hand: it carries the lease's id",
                    self.description.name
                ))
            });
        };
        let place = launched
            .open_again(&self.book)
            .map_err(|error| unknown(format!("what is kept of the lease: {error:#}")))?;
        self.know(id, &place);
        Ok(place)
    }

    fn know(&self, id: LeaseId, place: &Arc<dyn Place>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(id).or_insert_with(|| Arc::clone(place));
    }

    /// Forgets what is kept of leases that are over and of which nothing is there.
    fn forget(&self, ids: &[LeaseId], found: &[LeaseId]) {
        let store: &dyn Store = self.book.database.as_ref();
        for id in ids.iter().filter(|id| !found.contains(id)) {
            let is_over = |lease: Option<launch::Lease>| lease.is_none_or(|lease| lease.state == State::Removed);
            if store.read(*id).is_ok_and(is_over) {
                self.book.forget(*id);
            }
        }
    }

    /// Every place that is known of, with the leases that are kept to be there.
    fn all(&self, kept: &[LeaseId]) -> HashMap<String, Known<L>> {
        let mut at = HashMap::new();
        if let Some((launched, place)) = self.given.clone().zip(self.new.clone()) {
            let known = Known {
                launched: launched.clone(),
                place,
                leases: Vec::new(),
            };
            at.insert(launched.site(), known);
        }
        for id in kept.iter().copied() {
            // One that cannot be read is at no place that could be asked; others are launched otherwise.
            let Ok(Some(launched)) = self.book.kept::<L>(id) else {
                continue;
            };
            let site = launched.site();
            if !at.contains_key(&site) {
                let Ok(place) = launched.open_again(&self.book) else {
                    continue;
                };
                let known = Known {
                    launched,
                    place,
                    leases: Vec::new(),
                };
                at.insert(site.clone(), known);
            }
            if let Some(known) = at.get_mut(&site) {
                known.leases.push(id);
            }
        }
        at
    }
}

struct Known<L> {
    launched: L,
    place: Arc<dyn Place>,
    leases: Vec<LeaseId>,
}

#[async_trait]
impl<L: Launched> Place for Kept<L> {
    fn describe(&self) -> Description {
        self.description.clone()
    }

    async fn create(&self, job: &Job) -> Result<Creation, Fault> {
        let kept = self.book.kept::<L>(job.id).map_err(|error| unreadable(&error))?;
        if let (None, Some(given)) = (kept, &self.given) {
            self.book.keep(job.id, given).map_err(|error| unreadable(&error))?;
            if let Some(new) = &self.new {
                self.know(job.id, new);
            }
        }
        self.of(job.id)?.create(job).await
    }

    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        self.of(job.id)?.ask(job, question).await
    }

    /// It is remembered until the row says that nothing is left: whoever takes the removal over asks there again.
    async fn remove(&self, job: &Job) -> Result<Removal, Fault> {
        self.of(job.id)?.remove(job).await
    }

    /// What is at the places that answer; a fault if none does.
    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        let kept = self.book.all_kept().map_err(|error| unreadable(&error))?;
        let (mut all, mut silent, mut answers) = (Vec::new(), None, 0);
        for (site, known) in self.all(&kept) {
            let found = if known.launched.is_absent() {
                Err(unknown(format!("there is no {site}")))
            } else {
                known.place.list(instance).await
            };
            match found {
                Ok(found) => {
                    answers += 1;
                    let unkept = found.iter().filter(|id| !kept.contains(id));
                    unkept.for_each(|id| self.know(*id, &known.place));
                    self.forget(&known.leases, &found);
                    all.extend(found);
                }
                // What is there cannot be told: nothing of it is named, so nothing of it is removed.
                Err(fault) => silent = Some(fault),
            }
        }
        match silent {
            Some(fault) if answers == 0 => Err(fault),
            Some(_) | None => Ok(all),
        }
    }
}

fn unknown(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Unclear, "place_unknown", message)
}

fn unreadable(error: &io::Error) -> Fault {
    unknown(format!("what is kept of the leases' places cannot be used: {error}"))
}

/// A place whose leases live on, and to which none can be added.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) place: Arc<dyn Place>,
    /// What is missing.
    pub(super) why: String,
}

#[async_trait]
impl Place for Closed {
    fn describe(&self) -> Description {
        self.place.describe()
    }

    async fn create(&self, _: &Job) -> Result<Creation, Fault> {
        Err(Fault::new(FaultKind::Refused, "secret_missing", self.why.clone()))
    }

    async fn ask(&self, job: &Job, question: &Question) -> Result<Reached, Fault> {
        self.place.ask(job, question).await
    }

    async fn remove(&self, job: &Job) -> Result<Removal, Fault> {
        self.place.remove(job).await
    }

    async fn list(&self, instance: &str) -> Result<Vec<LeaseId>, Fault> {
        self.place.list(instance).await
    }
}

impl Launched for crate::cloud::AzureSettings {
    fn open(&self, book: &Book) -> anyhow::Result<Arc<dyn Place>> {
        use crate::cloud::{Secrets, variable};
        let place = self.open(book.secret()?, &Secrets::Of(&variable), &variable)?;
        Ok(place.into_place())
    }

    fn open_again(&self, book: &Book) -> anyhow::Result<Arc<dyn Place>> {
        use crate::cloud::{Secrets, variable};
        let problem = match Launched::open(self, book) {
            Ok(place) => return Ok(place),
            Err(problem) => problem,
        };
        // Whoever asks or removes a gateway needs none of the secrets that it was made with.
        let place = self
            .open(book.secret()?, &Secrets::None, &variable)
            .with_context(|| format!("{problem:#}"))?;
        Ok(Arc::new(Closed {
            place: place.into_place(),
            why: format!("{problem:#}"),
        }))
    }

    fn site(&self) -> String {
        self.whereabouts()
    }
}

#[cfg(test)]
mod tests;
