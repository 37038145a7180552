//! How an evaluation is shared among processes: each tries its own conditions, and all learn all answers.
//!
//! Guarantee: what is exchanged is exact, and every condition is tried by itself; so the results are the same, bit for bit,
//! for any number of processes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::BenchmarkError;

/// Gives every process the text of each, in their order; called equally often by all.
pub type Exchange<'a> = dyn Fn(&str) -> Result<Vec<String>, String> + Sync + 'a;

/// One of several processes that evaluate together.
#[derive(Clone, Copy)]
pub struct Share<'a> {
    rank: usize,
    ranks: usize,
    exchange: Option<&'a Exchange<'a>>,
}

/// What a process has to say: its answers, or why there are none.
type Said<T> = Result<Vec<(usize, T)>, String>;

impl<'a> Share<'a> {
    /// One process that does all.
    pub const fn whole() -> Self {
        Self { rank: 0, ranks: 1, exchange: None }
    }

    /// The process number `rank` of `ranks`.
    pub fn of(rank: usize, ranks: usize, exchange: &'a Exchange<'a>) -> Self {
        Self { rank, ranks, exchange: (ranks > 1).then_some(exchange) }
    }

    /// Whether this process tries the condition number `at`.
    pub(super) fn is_own(&self, at: usize) -> bool {
        at % self.ranks == self.rank
    }

    /// The answers of all processes, in order of their numbers.
    ///
    /// # Errors
    /// When any process failed, on every one of them.
    pub(super) fn all<T: Serialize + DeserializeOwned>(
        &self,
        own: Result<Vec<(usize, T)>, BenchmarkError>,
    ) -> Result<Vec<(usize, T)>, BenchmarkError> {
        let Some(exchange) = self.exchange else { return own };
        let failed = |reason: String| BenchmarkError::Exchange { reason };
        let said: Said<T> = own.map_err(|error| error.to_string());
        let text = serde_json::to_string(&said).map_err(|error| failed(error.to_string()))?;
        let mut all = Vec::new();
        for (rank, text) in exchange(&text).map_err(failed)?.into_iter().enumerate() {
            let said: Said<T> = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
            all.extend(said.map_err(|reason| failed(format!("rank {rank}: {reason}")))?);
        }
        all.sort_by_key(|(at, _)| *at);
        Ok(all)
    }
}
