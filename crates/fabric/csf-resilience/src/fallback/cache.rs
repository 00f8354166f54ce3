//! The last good answers of a guard, by key and type.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Answers = BTreeMap<(String, TypeId), (Duration, Box<dyn Any + Send + Sync>)>;

/// At most [`AnswerCache::ENTRIES_MAX`] answers; the oldest makes room.
#[derive(Default)]
pub(crate) struct AnswerCache(Mutex<Answers>);

impl AnswerCache {
    pub(crate) const ENTRIES_MAX: usize = 1_000;

    pub(crate) fn store<T: Send + Sync + 'static>(&self, key: &str, now: Duration, answer: T) {
        let mut answers = self.lock();
        let key = (key.to_owned(), TypeId::of::<T>());
        if answers.len() >= Self::ENTRIES_MAX && !answers.contains_key(&key) {
            let oldest = answers.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone());
            oldest.map(|key| answers.remove(&key));
        }
        answers.insert(key, (now, Box::new(answer)));
    }

    /// The answer and its age, if it is not older than `ttl`.
    pub(crate) fn find<T: Clone + 'static>(
        &self,
        key: &str,
        now: Duration,
        ttl: Duration,
    ) -> Result<(T, Duration), String> {
        let answers = self.lock();
        let Some((at, answer)) = answers.get(&(key.to_owned(), TypeId::of::<T>())) else {
            return Err(format!("the cache has no answer to `{key}`"));
        };
        let age = now.saturating_sub(*at);
        if age > ttl {
            return Err(format!("the cached answer to `{key}` is {age:?} old and its `ttl` = {ttl:?}"));
        }
        let answer = answer.downcast_ref::<T>().expect("the key holds the answer's type");
        Ok((answer.clone(), age))
    }

    fn lock(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_answer_makes_room_and_types_do_not_meet() {
        let (cache, second) = (AnswerCache::default(), Duration::from_secs(1));
        for age in 0..=AnswerCache::ENTRIES_MAX {
            cache.store(&age.to_string(), second * u32::try_from(age).unwrap(), age);
        }
        let now = second * 1_000;
        assert!(cache.find::<usize>("0", now, now).is_err());
        assert_eq!(cache.find::<usize>("1", now, now), Ok((1, second * 999)));
        assert!(cache.find::<u8>("1", now, now).is_err());
        assert!(cache.find::<usize>("1", now, second).unwrap_err().contains("`ttl` = 1s"));
    }
}
