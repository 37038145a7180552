//! Heartbeats and watchdog of a run, together.
//!
//! Guarantee: of the ranks of a host that see the same stuck operation one speaks, in one write; what the others have to
//! say stands in their logs. Where that one does not come to it, another does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::collective::{Collective, CollectiveError, end_process};
use crate::watch::flight::{self, dump};
use crate::watch::{Diagnosis, Heartbeat, Limits, Member, Peer, Recorder, Standing, Watchdog};

/// Longest time between heartbeats.
const INTERVAL: Duration = Duration::from_secs(1);
/// Least heartbeats in the time that an operation may be open, so that a rank that is lost counts as silent before.
const BEATS: u32 = 8;
/// Exit code of a run that failed.
const FAILED: i32 = 4;
/// How long a rank leaves the word to another one of its host. Watchdogs look once a second, and `mpirun` takes one more
/// to end the others when the first has ended.
const SILENCE: Duration = Duration::from_secs(3);

/// Target of log messages that are for the log file of a rank alone, not for standard error.
pub const OWN_LOG: &str = "own_log";

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
            end(&folder, &ring, &beat, &diagnosis);
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

/// Says why the run cannot go on and ends this process.
fn end(folder: &Path, ring: &Arc<Recorder>, beat: &Arc<Heartbeat>, diagnosis: &Diagnosis) -> ! {
    let (own, peers) = (beat.own(), beat.peers());
    let message = format!(
        "error: {own}: {}\n  the last operations of this rank are in {}",
        diagnosis.sentence,
        flight::path(folder, own.rank).display()
    );
    let record = {
        let (folder, ring, own, sentence) =
            (folder.to_owned(), Arc::clone(ring), own.clone(), diagnosis.sentence.clone());
        let peers = peers.clone();
        move || dump(&folder, &ring, &own, &sentence, &peers)
    };
    if speaker(own, diagnosis, &peers) == own.rank {
        // Said first: a file on storage that hangs would keep it.
        say(&message);
        if let Err(error) = record() {
            say(&format!("  the last operations of {own} cannot be written: {error}"));
        }
    } else {
        // On a thread, for the same reason.
        let words = message.clone();
        let started = std::thread::Builder::new().name("flight".into()).spawn(move || {
            tracing::error!(target: OWN_LOG, "{words}");
            if let Err(error) = record() {
                tracing::error!(target: OWN_LOG, "the last operations cannot be written: {error}");
            }
        });
        if started.is_ok() {
            std::thread::sleep(SILENCE);
        }
        // Still here, so nobody has ended the run.
        say(&message);
    }
    end_process(FAILED)
}

/// The first rank of this host that waits as this one does, and so has the same to say.
fn speaker(own: &Member, diagnosis: &Diagnosis, peers: &[Peer]) -> usize {
    let blamed = |member: &Member| diagnosis.culprits.iter().any(|culprit| culprit.member == *member);
    let left = |peer: &Peer| peer.heard.as_ref().is_none_or(|heard| heard.progress.standing == Standing::Ended);
    let here = peers.iter().filter(|peer| peer.member.host == own.host && !left(peer) && !blamed(&peer.member));
    here.map(|peer| peer.member.rank).chain([own.rank]).min().unwrap_or(own.rank)
}

/// On standard error, in one write, which other processes cannot come between.
fn say(message: &str) {
    // There is nobody left to tell that standard error is gone.
    let _ = std::io::stderr().lock().write_all(format!("{message}\n").as_bytes());
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "unknown".into() } else { name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Heard;
    use crate::watch::{Cause, Culprit};
    use crate::watch::{Operation, Phase, Progress};

    fn member(rank: usize) -> Member {
        Member { rank, host: format!("n{}", rank / 4) }
    }

    fn peer(rank: usize, standing: Option<Standing>) -> Peer {
        let heard = |standing| Heard {
            ago: Duration::ZERO,
            unchanged: Duration::ZERO,
            progress: Progress { standing, ..Progress::default() },
        };
        Peer { member: member(rank), heard: standing.map(heard) }
    }

    #[test]
    fn the_first_rank_of_a_host_that_can_speak_speaks() {
        let recorder = Recorder::default();
        recorder.at(7, Phase::Backward);
        drop(recorder.enter(Operation::Barrier, "b", 0));
        let record = recorder.records().remove(0);
        let diagnosis = |blamed: &[usize]| Diagnosis {
            record: record.clone(),
            open_for: Duration::from_secs(1),
            culprits: blamed.iter().map(|&rank| Culprit { member: member(rank), cause: Cause::Silent }).collect(),
            sentence: String::new(),
        };
        let running = Some(Standing::Running);
        let all: Vec<_> = [0, 1, 2, 4, 5].into_iter().map(|rank| peer(rank, running)).collect();
        // Rank 3 asks; ranks 4 and 5 are elsewhere.
        assert_eq!(speaker(&member(3), &diagnosis(&[]), &all), 0);
        assert_eq!(speaker(&member(3), &diagnosis(&[0, 4]), &all), 1);
        assert_eq!(speaker(&member(3), &diagnosis(&[0, 1, 2]), &all), 3);
        let gone = [peer(0, Some(Standing::Ended)), peer(1, None), peer(2, Some(Standing::GivenUp))];
        assert_eq!(speaker(&member(3), &diagnosis(&[]), &gone), 2);
    }
}
