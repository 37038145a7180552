//! Why a collective operation does not end, in one sentence.
//!
//! Guarantee: a pure function of the open operation and the table of peers. Ranks are named only for what they said or
//! stopped saying; a rank that is heard inside the operation never is.

use std::collections::BTreeSet;
use std::time::Duration;

use super::heartbeat::{Heard, Peer};
use super::progress::{Member, Operation, Standing};
use super::recorder::Record;

/// Clauses of a sentence; further ranks are counted.
const CLAUSES: usize = 6;
/// Ranks named in a clause; further ones are counted.
const RANKS: usize = 8;

/// What a rank did that others wait for it. Those that explain more come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// This rank itself queued the operation, but the thread that should enter it does not.
    NotStarted,
    /// It was heard from once, and not for several intervals.
    Silent,
    /// It left the run without completing the operation.
    Ended,
    /// It entered another kind of operation in this place: the ranks have run apart.
    Apart(Operation),
    /// It is alive and has not entered the operation.
    Behind,
}

/// A rank that others wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// Who.
    pub member: Member,
    /// Why.
    pub cause: Cause,
}

/// Why an operation does not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// The operation.
    pub record: Record,
    /// How long it has been open.
    pub open_for: Duration,
    /// Ranks that others wait for, the most telling first; may be empty.
    pub culprits: Vec<Culprit>,
    /// All of it in one sentence without a full stop.
    pub sentence: String,
}

/// Diagnoses an operation of rank `own` that has been open for `open_for`. A peer counts as silent when nothing was
/// heard from it for `silence`.
pub fn diagnose(own: &Member, record: &Record, open_for: Duration, peers: &[Peer], silence: Duration) -> Diagnosis {
    let mut found: Vec<Finding<'_>> = peers.iter().filter_map(|peer| Finding::of(peer, record, silence)).collect();
    if record.started_us.is_none() {
        found.push(Finding { member: own, cause: Cause::NotStarted, heard: None });
    }
    // Among ranks that are behind, those that stopped earliest hold up the rest.
    found.sort_by_cached_key(Finding::order);
    let mut clauses = culprit_clauses(&found);
    if found.is_empty() {
        clauses.push(unexplained(own, record, peers));
    }
    clauses.extend(isolation(own, &found, peers));
    clauses.extend(unheard(peers));
    let sentence = format!("{} on {own}: {}", head(record, open_for), clauses.join("; "));
    let culprits = found.into_iter().map(|f| Culprit { member: f.member.clone(), cause: f.cause }).collect();
    Diagnosis { record: record.clone(), open_for, culprits, sentence }
}

struct Finding<'a> {
    member: &'a Member,
    cause: Cause,
    heard: Option<&'a Heard>,
}

impl<'a> Finding<'a> {
    fn of(peer: &'a Peer, record: &Record, silence: Duration) -> Option<Self> {
        let heard = peer.heard.as_ref()?;
        let progress = &heard.progress;
        let behind = progress.entered < record.sequence;
        let cause = match progress.standing {
            Standing::GivenUp => return None,
            Standing::Ended if progress.completed >= record.sequence => return None,
            Standing::Ended => Cause::Ended,
            Standing::Running if heard.ago >= silence => Cause::Silent,
            Standing::Running if behind => Cause::Behind,
            Standing::Running => match progress.operation {
                Some(other) if progress.entered == record.sequence && other != record.operation => Cause::Apart(other),
                _ => return None,
            },
        };
        Some(Self { member: &peer.member, cause, heard: Some(heard) })
    }

    fn order(&self) -> impl Ord + use<> {
        let (cause, host, place) = self.group();
        let entered = self.heard.map(|heard| heard.progress.entered);
        (cause.clone(), entered, host.to_owned(), place, self.member.rank)
    }

    /// What is said in the same words of several ranks of one host.
    fn group(&self) -> (&Cause, &str, String) {
        let place = self.heard.map_or_else(String::new, |heard| place(heard, &self.cause));
        (&self.cause, &self.member.host, place)
    }
}

/// Where a rank is, in words.
fn place(heard: &Heard, cause: &Cause) -> String {
    let progress = &heard.progress;
    let words = format!("in step {}, {}", progress.step, progress.phase);
    if *cause != Cause::Ended && progress.completed < progress.entered && !matches!(cause, Cause::Apart(_)) {
        let kind = progress.operation.map_or_else(String::new, |kind| format!("{kind}, "));
        return format!("{words}, inside {kind}operation {}", progress.entered);
    }
    words
}

fn head(record: &Record, open_for: Duration) -> String {
    let Record { operation, label, sequence, step, .. } = record;
    let label = label.replace(char::is_control, " ");
    format!("{operation} `{label}` (operation {sequence}) of step {step} has been open for {}", seconds(open_for))
}

fn culprit_clauses(found: &[Finding<'_>]) -> Vec<String> {
    let mut clauses = Vec::new();
    let mut rest = found;
    while let Some(first) = rest.first() {
        let key = first.group();
        let len = rest.iter().take_while(|finding| finding.group() == key).count();
        if clauses.len() == CLAUSES {
            clauses.push(format!("and {} besides", count(rest.len(), "rank", "ranks")));
            break;
        }
        clauses.push(clause(&rest[..len]));
        rest = &rest[len..];
    }
    clauses
}

/// One clause about ranks of one group.
fn clause(group: &[Finding<'_>]) -> String {
    let Some(first) = group.first() else { return String::new() };
    let who = named(group.iter().map(|finding| finding.member));
    let one = group.len() == 1;
    let (has, is, was) = if one { ("has", "is", "was") } else { ("have", "are", "were") };
    let longest = |time: fn(&Heard) -> Duration| {
        seconds(group.iter().filter_map(|finding| finding.heard.map(time)).max().unwrap_or_default())
    };
    let place = first.group().2;
    match &first.cause {
        Cause::NotStarted => format!("{who} has queued it, but its communication thread has not entered it"),
        Cause::Silent => format!("{who} {has} not been heard from for {} ({was} {place})", longest(|heard| heard.ago)),
        Cause::Ended => format!("{who} left the run without completing it ({was} {place})"),
        Cause::Apart(other) => format!("{who} {is} in {other} instead, so the ranks have run apart ({place})"),
        Cause::Behind => {
            let unchanged = longest(|heard| heard.unchanged);
            format!("{who} {is} alive but {has} not entered it ({is} {place}, for {unchanged})")
        }
    }
}

/// When nobody is to blame.
fn unexplained(own: &Member, record: &Record, peers: &[Peer]) -> String {
    if peers.is_empty() {
        return "there are no other ranks, so a device or its driver may be stuck".into();
    }
    if peers.iter().all(|peer| peer.heard.is_none()) {
        return "no rank can be named".into();
    }
    let hosts: BTreeSet<&str> = peers.iter().map(|peer| &*peer.member.host).chain([&*own.host]).collect();
    let past = peers.iter().flat_map(|peer| &peer.heard).any(|heard| heard.progress.completed >= record.sequence);
    let past = if past { " or past" } else { "" };
    let heard = if peers.iter().all(|peer| peer.heard.is_some()) { "all ranks" } else { "all ranks heard from" };
    let hosts: Vec<_> = hosts.into_iter().collect();
    let suspect = match hosts.as_slice() {
        [host] => format!("shared memory or a device of host {host} may be stuck"),
        hosts if hosts.len() <= RANKS => format!("the data network between hosts {} may be down", hosts.join(", ")),
        hosts => format!("the data network between the {} hosts may be down", hosts.len()),
    };
    format!("{heard} are alive and inside{past} the operation: {suspect}")
}

/// When no other host is heard from, this host is the likelier one to be cut off.
fn isolation(own: &Member, found: &[Finding<'_>], peers: &[Peer]) -> Option<String> {
    let elsewhere = || peers.iter().filter(|peer| peer.member.host != own.host);
    let hosts = elsewhere().map(|peer| &peer.member.host).collect::<BTreeSet<_>>().len();
    let silent = found.iter().filter(|f| f.cause == Cause::Silent && f.member.host != own.host).count();
    let cut_off = hosts > 1 && silent == elsewhere().count();
    cut_off.then(|| format!("no other host is heard, so the network of host {} itself may be down", own.host))
}

fn unheard(peers: &[Peer]) -> Option<String> {
    let never: BTreeSet<&Member> = peers.iter().filter(|peer| peer.heard.is_none()).map(|peer| &peer.member).collect();
    let hosts: BTreeSet<_> = never.iter().map(|member| &member.host).collect();
    let who = match hosts.len() {
        0 => return None,
        1 => named(never.iter().copied()),
        hosts => format!("{} ranks on {hosts} hosts", never.len()),
    };
    Some(format!("no heartbeat ever came from {who} (UDP may be blocked)"))
}

/// Ranks of one host.
fn named<'a>(members: impl Iterator<Item = &'a Member> + Clone) -> String {
    let len = members.clone().count();
    let Some(first) = members.clone().next() else { return String::new() };
    if len == 1 {
        return first.to_string();
    }
    let mut ranks: Vec<_> = members.take(RANKS).map(|member| member.rank.to_string()).collect();
    if len > RANKS {
        ranks.push(format!("{} more", len - RANKS));
    }
    let last = ranks.pop().unwrap_or_default();
    format!("ranks {} and {last} on host {}", ranks.join(", "), first.host)
}

fn count(n: usize, one: &str, several: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { several })
}

fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

#[cfg(test)]
mod tests;
