//! Makes the container group of a lease, and waits for its gateway's first word.

use std::time::{Duration, SystemTime};

use azure::{Kind, Progress};
use serde_json::Value;

use super::{
    AzureContainer,
    refs::Refs,
    requests,
    view::{self, Container, View},
};
use crate::{
    Moment,
    node::Ready,
    place::{
        Creation, Fault, FaultKind, Job,
        azure::fault::{fault, of_operation, refused},
    },
};

/// When a group is looked at again that Azure is at, though no operation tells of it.
const SOON: Duration = Duration::from_secs(2);

/// When a gateway's log is looked at again.
const NEXT_WORD: Duration = Duration::from_secs(1);

impl AzureContainer {
    pub(super) async fn make(&self, job: &Job) -> Result<Creation, Fault> {
        let refs = Refs::read(job);
        let mut told = None;
        if let Some(operation) = &refs.operation {
            match self.arm.poll(operation).await {
                Ok(Progress::Running(operation, after)) => {
                    return Ok(waiting(refs, Progress::Running(operation, after)));
                }
                Ok(Progress::Failed(error)) if error.kind() != Kind::NotFound => {
                    return Err(self.of_failure(job, of_operation(&error)).await);
                }
                // What came of it is seen at the group, with its events.
                Ok(Progress::Done(_) | Progress::Failed(_) | Progress::Untold(_)) => {}
                // It may be its end that Azure tells so, for ever.
                Err(error) => told = Some(error.service().map(of_operation).ok_or_else(|| fault(&error))?),
            }
        }
        let refs = Refs {
            operation: None,
            ..refs
        };
        match self.find(job).await? {
            None => self.begin(job, refs).await,
            Some(view) if !view.is_of(job) => Err(refused(
                "name_taken",
                format!(
                    "there is a container group {} of another launcher's in the resource group {}",
                    job.id.resource_name(),
                    self.config.site.group()
                ),
                "remove it, or use another resource group",
            )),
            Some(view) => match (view.failure(&self.config.image), told) {
                (Some(seen), Some(told)) if seen.code == view::FAILED => Err(for_good(told)),
                (Some(seen), _) => Err(seen),
                (None, _) => self.go_on(job, refs, &view).await,
            },
        }
    }

    /// Orders it. A repeat whose first answer was lost finds it there.
    async fn begin(&self, job: &Job, mut refs: Refs) -> Result<Creation, Fault> {
        let launcher = self.gateways.launcher(job.id);
        let until = Moment::from_system(SystemTime::now()) + job.remaining;
        let request = requests::make(&self.config, job, &launcher, until);
        refs.port = requests::port(&self.config, job);
        match self.arm.begin(&request).await {
            Ok(Progress::Failed(error)) => Err(for_good(of_operation(&error))),
            Ok(progress) => Ok(waiting(refs, progress)),
            // It may be there all the same, or another step's; the next step looks.
            Err(error) if error.kind() == Kind::Transient => Err(fault(&error)),
            Err(error) => match self.find(job).await {
                Ok(Some(view)) if view.is_of(job) => Ok(waiting(refs, Progress::Done(Value::Null))),
                Ok(_) | Err(_) => Err(fault(&error)),
            },
        }
    }

    async fn go_on(&self, job: &Job, mut refs: Refs, view: &View) -> Result<Creation, Fault> {
        let pending = |refs: &Refs, after, doing: &str| {
            Ok(Creation::Pending {
                refs: refs.note(),
                after,
                doing: doing.to_owned(),
            })
        };
        if view.is_going() {
            return pending(&refs, SOON, "Azure removes a container group of this name");
        }
        if view.is_under_way() {
            return pending(&refs, SOON, "Azure makes the container group, and pulls the image");
        }
        if let Some(end) = view.end() {
            let log = self.log(job).await.unwrap_or_default();
            return Err(match view.container {
                Container::Ended(Some(0)) => for_good(end),
                Container::Ended(_) | Container::Waiting | Container::Running => view::ended(&self.config.image, &log),
            });
        }
        let log = self.log(job).await?;
        match (Ready::find(&log), view.address) {
            (Some(ready), Some(address)) => {
                refs.port = requests::port(&self.config, job);
                (refs.address, refs.public_key) = (Some(address), Some(ready.public_key));
                Ok(Creation::Made { refs: refs.note() })
            }
            (None, _) if view.has_failed_often() => Err(view::ended(&self.config.image, &log)),
            (Some(_) | None, _) => pending(&refs, NEXT_WORD, "the container runs, and its gateway starts"),
        }
    }

    /// Why it could not be made: its events say more than the operation, if there are any.
    async fn of_failure(&self, job: &Job, failure: Fault) -> Fault {
        match self.find(job).await {
            Ok(Some(view)) if view.is_of(job) => match view.failure(&self.config.image) {
                // An operation without a word of its own is told by the state alone.
                Some(seen) if seen.code != view::FAILED || failure.remedy.is_empty() && failure.code == "Failed" => {
                    seen
                }
                Some(_) | None => for_good(failure),
            },
            Ok(_) | Err(_) => for_good(failure),
        }
    }

    /// The lease's group; `None` if it is not there.
    pub(super) async fn find(&self, job: &Job) -> Result<Option<View>, Fault> {
        let found = self.arm.find(&requests::find(&self.config, job.id)).await;
        // Without its resource group there is nothing at all, and nothing can be made.
        Ok(found.map_err(|error| fault(&error))?.map(|group| View::read(&group)))
    }

    /// What its gateway has said; nothing as long as there is no container that could.
    pub(super) async fn log(&self, job: &Job) -> Result<String, Fault> {
        match self.arm.send(&requests::log(&self.config, job.id)).await {
            Ok(answer) => Ok(answer.body["content"].as_str().unwrap_or_default().to_owned()),
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Conflict) => Ok(String::new()),
            Err(error) => Err(fault(&error)),
        }
    }
}

/// What made a group fail: it will not come about by waiting.
fn for_good(fault: Fault) -> Fault {
    Fault {
        kind: FaultKind::Refused,
        ..fault
    }
}

/// What a request has begun.
fn waiting(mut refs: Refs, progress: Progress) -> Creation {
    let (operation, after) = match progress {
        Progress::Running(operation, after) => (Some(operation), after),
        Progress::Done(_) | Progress::Failed(_) | Progress::Untold(_) => (None, Duration::ZERO),
    };
    refs.operation = operation;
    Creation::Pending {
        refs: refs.note(),
        after,
        doing: "Azure makes the container group, and pulls the image".to_owned(),
    }
}
