//! Follows long-running operations to their end.

use std::time::Duration;

use reqwest::header::HeaderMap;
use serde_json::Value;

use super::{Arm, ArmError};
use crate::{Kind, Method, Operation, Progress, Request, ServiceError, operation::Question};

/// How long it is waited, at least, after an operation could not be read.
const AFTER_TROUBLE: Duration = Duration::from_secs(5);

impl Arm {
    /// Sends a request that may begin a long-running operation.
    ///
    /// # Errors
    ///
    /// As [`Arm::send`].
    pub async fn begin(&self, request: &Request) -> Result<Progress, ArmError> {
        let answer = self.send(request).await?;
        Ok(Operation::begin(request, &answer, &self.cloud))
    }

    /// Asks once how an operation is. One that was kept goes on where it was.
    ///
    /// # Errors
    ///
    /// That nothing was learnt: the operation is as it was, and may be asked again.
    pub async fn poll(&self, operation: &Operation) -> Result<Progress, ArmError> {
        let heard = if operation.is_of(&self.cloud) {
            match operation.next() {
                Question::Url(url) => self.exchange(Method::Get, url, HeaderMap::new(), None, true).await,
                Question::Request(request) => self.send(&request).await,
            }
        } else {
            // What was kept names a host of another: it is as if Azure had forgotten it.
            let error = Box::new(ServiceError {
                status: 410,
                code: "OperationOfAnotherCloud".to_owned(),
                ..ServiceError::default()
            });
            Err(ArmError::Service {
                error,
                maybe_done: false,
            })
        };
        let heard = match &heard {
            Ok(answer) => Ok(answer),
            Err(ArmError::Service { error, .. }) => Err(&**error),
            Err(error) => return Err(error.clone()),
        };
        operation
            .clone()
            .handle(heard, &self.cloud)
            .map_err(|(_, error)| ArmError::Service {
                error,
                maybe_done: false,
            })
    }

    /// Follows an operation to its end, for `limit` at most, and gives its result. `keep` is told of every state before it is
    /// waited: who keeps it can go on after a restart by [`Arm::poll`].
    ///
    /// # Errors
    ///
    /// How it failed, or [`ArmError::Overdue`]. Trouble in asking is no failure until the time is over.
    pub async fn finish(
        &self,
        mut progress: Progress,
        limit: Duration,
        mut keep: impl FnMut(&Operation),
    ) -> Result<Value, ArmError> {
        let deadline = self.clock.now() + limit;
        loop {
            let (operation, wait) = match progress {
                Progress::Done(result) => return Ok(result),
                Progress::Failed(error) => {
                    return Err(ArmError::Service {
                        error,
                        maybe_done: false,
                    });
                }
                Progress::Untold(untold) => return Err(untold.into()),
                Progress::Running(operation, wait) => (operation, wait),
            };
            keep(&operation);
            if self.clock.now() + wait >= deadline {
                return Err(ArmError::Overdue(limit));
            }
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
            progress = match self.poll(&operation).await {
                Ok(progress) => progress,
                Err(error) if error.kind() == Kind::Transient => Progress::Running(operation, wait.max(AFTER_TROUBLE)),
                Err(error) => return Err(error),
            };
        }
    }

    /// Begins an operation and follows it to its end.
    ///
    /// # Errors
    ///
    /// As [`Arm::begin`] and [`Arm::finish`].
    pub async fn carry_out(&self, request: &Request, limit: Duration) -> Result<Value, ArmError> {
        let progress = self.begin(request).await?;
        self.finish(progress, limit, |_| {}).await
    }
}
