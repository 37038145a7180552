//! Heartbeats: every rank tells every other one where it is, beside the collectives and without them.
//!
//! Guarantee: nothing here ends or delays a run. Packets that do not get away are left, foreign and damaged ones are
//! ignored, and a rank without a socket or a thread only is not heard. The table of peers is locked for memory writes
//! alone, never while a packet is on its way.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::address::{Advertisement, Socket, token};
use super::packet::{LEN, Packet};
use super::progress::{Member, Progress, Standing};
use super::recorder::Recorder;

/// Ranks up to which a packet goes to every peer in one interval; with more, intervals are longer in proportion, so
/// that a rank sends and receives the same number of packets a second.
const RANKS_PER_INTERVAL: usize = 64;
/// A peer is silent when nothing was heard from it for this many intervals.
const SILENT_INTERVALS: u32 = 5;
/// Longest wait for a packet, which bounds how late the thread sees that it should end.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Another rank as this one knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub member: Member,
    /// What it said last; nothing when it was never heard from.
    pub heard: Option<Heard>,
}

/// What a peer said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Time since it said so.
    pub ago: Duration,
    /// Time since it first said the same.
    pub unchanged: Duration,
    /// Where it is.
    pub progress: Progress,
}

/// Sends and receives heartbeats until it is dropped; the others are told then that this rank left.
#[derive(Debug)]
pub struct Heartbeat {
    own: Member,
    interval: Duration,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    rank: usize,
    token: u64,
    ranks: Vec<Advertisement>,
    socket: Option<Socket>,
    recorder: Arc<Recorder>,
    serial: AtomicU64,
    /// Where each rank is, in order of rank.
    table: Mutex<Vec<Option<Row>>>,
    urgent: AtomicBool,
    ended: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    serial: u64,
    heard: Instant,
    changed: Instant,
    progress: Progress,
}

impl Heartbeat {
    /// Starts heartbeats every `interval` (longer for more than 64 ranks). All ranks call it together: `exchange` is
    /// given a text and returns the texts of all ranks in order of rank.
    ///
    /// # Errors
    /// When `exchange` fails. A rank that gets no socket says so in the log and is not heard by the others.
    pub fn start<E>(
        own: Member,
        interval: Duration,
        recorder: Arc<Recorder>,
        exchange: impl FnOnce(&str) -> Result<Vec<String>, E>,
    ) -> Result<Self, E> {
        let socket = Socket::bind().inspect_err(|error| tracing::warn!("no heartbeats of {own}: {error}")).ok();
        let advertisement = Advertisement::new(&own.host, socket.as_ref());
        let texts = exchange(&serde_json::to_string(&advertisement).unwrap_or_default())?;
        let unknown = || Advertisement::new("unknown", None);
        let mut nonces = Vec::new();
        let ranks: Vec<_> = texts
            .iter()
            .map(|text| {
                let told = serde_json::from_str::<Advertisement>(text).ok();
                nonces.extend(told.clone());
                told.unwrap_or_else(unknown)
            })
            .collect();
        let shared = Arc::new(Shared {
            rank: own.rank,
            token: token(nonces.iter()),
            table: Mutex::new(vec![None; ranks.len()]),
            ranks,
            socket,
            recorder,
            serial: AtomicU64::new(0),
            urgent: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let share = texts.len().div_ceil(RANKS_PER_INTERVAL).max(1);
        let interval = interval * share as u32;
        let thread = (texts.len() > 1 && shared.socket.is_some()).then(|| spawn(&shared, interval)).flatten();
        Ok(Self { own, interval, shared, thread })
    }

    /// This rank.
    pub fn own(&self) -> &Member {
        &self.own
    }

    /// Time without a packet after which a peer counts as silent.
    pub fn silence(&self) -> Duration {
        self.interval * SILENT_INTERVALS
    }

    /// All other ranks, in order of rank.
    pub fn peers(&self) -> Vec<Peer> {
        let rows = self.shared.table().clone();
        let now = Instant::now();
        let since = |then: Instant| now.saturating_duration_since(then);
        let heard = |row: Row| Heard { ago: since(row.heard), unchanged: since(row.changed), progress: row.progress };
        let named = self.shared.ranks.iter().zip(rows).enumerate();
        named
            .filter(|(rank, _)| *rank != self.own.rank)
            .map(|(rank, (told, row))| Peer { member: Member { rank, host: told.host.clone() }, heard: row.map(heard) })
            .collect()
    }

    /// Has all peers told at once where this rank is. Does not wait until they are.
    pub fn announce(&self) {
        self.shared.urgent.store(true, Ordering::Release);
        self.shared.wake();
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn spawn(shared: &Arc<Shared>, interval: Duration) -> Option<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let thread = std::thread::Builder::new().name("heartbeat".into()).spawn(move || {
        if let Some(socket) = &shared.socket {
            shared.run(socket, interval);
        }
    });
    thread.inspect_err(|error| tracing::warn!("no heartbeats: {error}")).ok()
}

impl Shared {
    /// Peers are served one by one through the interval rather than at once, so that receivers' buffers do not fill.
    fn run(&self, socket: &Socket, interval: Duration) {
        let peers: Vec<_> = (1..self.ranks.len()).map(|offset| (self.rank + offset) % self.ranks.len()).collect();
        let spacing = interval / peers.len() as u32;
        let mut turns = peers.iter().cycle();
        let mut due = Instant::now();
        // Longer than a packet, so that longer datagrams are not cut to one.
        let mut buffer = [0; LEN + 1];
        while !self.ended.load(Ordering::Acquire) {
            if self.urgent.swap(false, Ordering::AcqRel) {
                self.send_all(socket);
            }
            let now = Instant::now();
            if now >= due {
                turns.next().into_iter().for_each(|&peer| self.send(socket, peer, self.recorder.progress()));
                due = now + spacing;
            }
            match socket.receive(&mut buffer, (due - now).min(LONGEST_WAIT)) {
                Ok(Some(bytes)) => self.hear(bytes),
                Ok(None) => {}
                // An interface went away, perhaps: it may come back, but until then there is no use in haste.
                Err(_) => std::thread::sleep(spacing.min(LONGEST_WAIT)),
            }
        }
        self.send_all(socket);
    }

    fn send_all(&self, socket: &Socket) {
        let mut progress = self.recorder.progress();
        if self.ended.load(Ordering::Acquire) && progress.standing == Standing::Running {
            progress.standing = Standing::Ended;
        }
        (0..self.ranks.len()).filter(|&peer| peer != self.rank).for_each(|peer| self.send(socket, peer, progress));
    }

    fn send(&self, socket: &Socket, peer: usize, progress: Progress) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let bytes = Packet { rank: self.rank as u32, serial, progress }.encode(self.token);
        for to in self.ranks[self.rank].targets(&self.ranks[peer]) {
            // What does not get away now is told again in an interval.
            let _ = socket.send(&bytes, to);
        }
    }

    fn hear(&self, bytes: &[u8]) {
        let Some(Packet { rank, serial, progress }) = Packet::decode(bytes, self.token) else { return };
        let rank = rank as usize;
        let now = Instant::now();
        let mut table = self.table();
        let Some(row) = table.get_mut(rank).filter(|_| rank != self.rank) else { return };
        // The same packet comes by several addresses, and an older one may come late.
        if row.is_none_or(|row| row.serial < serial) {
            let changed = row.filter(|row| row.progress == progress).map_or(now, |row| row.changed);
            *row = Some(Row { serial, heard: now, changed, progress });
        }
    }

    fn wake(&self) {
        if let Some(socket) = &self.socket {
            let _ = socket.wake();
        }
    }

    /// A panic elsewhere leaves whole rows.
    fn table(&self) -> MutexGuard<'_, Vec<Option<Row>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
