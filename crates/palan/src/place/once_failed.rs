//! Repositories that failed are not asked again: for runs over many images that stand on the same few bases.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use palan_client::Error as Refusal;
use palan_core::Repository;

use crate::Error;

/// What became of the repositories that were asked. Cheap to clone; clones share what they know.
#[derive(Clone, Default)]
pub(crate) struct Failures(Arc<Mutex<HashMap<Repository, Asked>>>);

/// What became of a repository. There are registries that give images and no lists.
#[derive(Clone, Default)]
pub(crate) struct Asked {
    content: Known,
    tags: Known,
}

type Known = Arc<tokio::sync::Mutex<Answer>>;

#[derive(Default)]
enum Answer {
    #[default]
    Unknown,
    /// It answers, if only that there is nothing.
    Given,
    Failed(Arc<Error>),
}

impl Failures {
    /// What is known of a repository.
    pub(crate) fn of(&self, repository: &Repository) -> Asked {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(repository.clone()).or_default().clone()
    }
}

impl Asked {
    /// Reads a manifest or blob, or asks for one, unless that has failed.
    pub(super) async fn content<T>(&self, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        ask(&self.content, read).await
    }

    /// Lists tags, unless that has failed.
    pub(super) async fn tags<T>(&self, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        ask(&self.tags, read).await
    }
}

/// Whoever asks first asks alone, so that a repository that fails is asked once, however many want to know.
async fn ask<T>(known: &Known, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut answer = known.lock().await;
    match &*answer {
        Answer::Failed(error) => return Err(Error::Before(Arc::clone(error))),
        Answer::Given => drop(answer),
        Answer::Unknown => {
            let found = read.await;
            return match found {
                Err(error) if is_failure(&error) => Err(remember(&mut answer, error)),
                found => {
                    *answer = Answer::Given;
                    found
                }
            };
        }
    }
    match read.await {
        Err(error) if is_failure(&error) => Err(remember(&mut *known.lock().await, error)),
        found => found,
    }
}

fn remember(answer: &mut Answer, error: Error) -> Error {
    let error = Arc::new(error);
    *answer = Answer::Failed(Arc::clone(&error));
    Error::Before(error)
}

/// Whether it is the repository that fails, and not a document of it.
fn is_failure(error: &Error) -> bool {
    let Error::Client(refusal) = error else { return false };
    let of_content =
        matches!(refusal, Refusal::Mismatch { .. } | Refusal::Document { .. } | Refusal::TooLarge { .. });
    !of_content && !error.is_not_found()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::future::join_all;

    use super::*;

    fn refused() -> Error {
        Error::Client(Refusal::Settings("no".to_owned()))
    }

    #[tokio::test]
    async fn a_repository_that_fails_is_asked_once_by_all() {
        let (asked, count) = (Failures::default().of(&"h.io/a".parse().unwrap()), Cell::new(0));
        let read = || async {
            count.set(count.get() + 1);
            tokio::task::yield_now().await;
            Err::<(), _>(refused())
        };
        for answer in join_all((0..5).map(|_| asked.content(read()))).await {
            assert_eq!(answer.unwrap_err().in_full(), "no");
        }
        assert_eq!(count.get(), 1);
        // Its lists are another matter.
        assert_eq!(asked.tags(async { Ok(1) }).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_is_not_there_is_no_failure_and_one_that_comes_later_is() {
        let asked = Asked::default();
        let gone = || Error::NotFound { name: "1".into(), place: "h.io/a".into() };
        assert!(asked.content(async { Err::<(), _>(gone()) }).await.unwrap_err().is_not_found());
        asked.content(async { Ok(()) }).await.unwrap();
        asked.content(async { Err::<(), _>(refused()) }).await.unwrap_err();
        let error = asked.content(async { Ok(()) }).await.unwrap_err();
        assert!(matches!(error, Error::Before(_)), "{error}");
    }
}
