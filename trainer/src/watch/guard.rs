//! Heartbeats and watchdog of a run, together.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::flight::dump;
use super::heartbeat::Heartbeat;
use super::progress::Member;
use super::watchdog::{Limits, Watchdog};
use crate::collective::{Collective, CollectiveError, end_process};

/// Longest time between heartbeats.
const INTERVAL: Duration = Duration::from_secs(1);
/// Least heartbeats in the time that an operation may be open, so that a rank that is lost counts as silent before.
const BEATS: u32 = 8;
/// Exit code of a run that failed.
const FAILED: i32 = 4;

/// Ends this process, with a record of what it waited for, when a collective operation is stuck. Goes with the run.
#[derive(Debug)]
pub struct Guard {
    heartbeat: Arc<Heartbeat>,
    _watchdog: Option<Watchdog>,
}

impl Guard {
    /// Starts watching, on all ranks together; `None` in a world of one. `flight-rank-R.json` goes to `folder`.
    ///
    /// # Errors
    /// When the ranks cannot exchange their addresses.
    pub fn start(
        collective: &dyn Collective,
        folder: PathBuf,
        limits: Limits,
    ) -> Result<Option<Self>, CollectiveError> {
        let Some(recorder) = collective.recorder() else { return Ok(None) };
        let own = Member { rank: collective.rank(), host: host_name() };
        let interval = INTERVAL.min(limits.short.min(limits.long) / BEATS);
        let heartbeat =
            Arc::new(Heartbeat::start(own, interval, Arc::clone(&recorder), |text| collective.all_gather_text(text))?);
        let (ring, beat) = (Arc::clone(&recorder), Arc::clone(&heartbeat));
        let watchdog = Watchdog::start(limits, recorder, Arc::clone(&heartbeat), move |diagnosis| {
            let sentence = &diagnosis.sentence;
            // Said first: a file on storage that hangs would keep it.
            eprintln!("error: {}: {sentence}", beat.own());
            match dump(&folder, &ring, beat.own(), sentence, &beat.peers()) {
                Ok(path) => eprintln!("  the last operations of this rank are in {}", path.display()),
                Err(error) => eprintln!("  the last operations of this rank cannot be written: {error}"),
            }
            end_process(FAILED);
        });
        let watchdog = watchdog.inspect_err(|error| tracing::warn!("no watchdog: {error}")).ok();
        Ok(Some(Self { heartbeat, _watchdog: watchdog }))
    }

    /// This rank and its host.
    pub fn own(&self) -> &Member {
        self.heartbeat.own()
    }

    /// All ranks with their hosts, in order.
    pub fn members(&self) -> Vec<Member> {
        let mut members: Vec<Member> = self.heartbeat.peers().into_iter().map(|peer| peer.member).collect();
        members.push(self.own().clone());
        members.sort_by_key(|member| member.rank);
        members
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".into() } else { name.into() }
}
