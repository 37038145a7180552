//! Ranks as threads of one process, for tests: the same algorithms on ordinary memory.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::node::Counters;
use super::region::{Memory, Region};
use super::transport::{Topology, Transport};
use super::{CollectiveError, Communicator};

/// What the ranks of a world share.
#[derive(Debug)]
struct World {
    size: usize,
    locals: usize,
    /// Barrier of the whole world, in aligned memory as in a node's.
    barrier: Memory,
    /// Barriers of the nodes.
    nodes: Vec<Memory>,
    /// Barriers of the ranks with one place in their nodes.
    columns: Vec<Memory>,
    /// What each rank shows the others in an exchange.
    shown: Vec<Mutex<Shown>>,
}

#[derive(Debug, Default)]
struct Shown {
    memory: Option<Arc<Memory>>,
    bytes: Vec<u8>,
}

/// One rank of a world of threads.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    world: Arc<World>,
}

impl Threads {
    /// A world of `size` ranks in nodes of `locals`, one communicator for each.
    ///
    /// # Errors
    /// When memory cannot be had or a thread cannot be started.
    ///
    /// # Panics
    /// When `locals` does not divide `size`.
    pub fn world(size: usize, locals: usize) -> Result<Vec<Communicator>, CollectiveError> {
        assert!(locals > 0 && size.is_multiple_of(locals), "{locals} ranks a node do not divide {size}");
        let memory = || Memory::zeroed(super::node::BARRIER_BYTES);
        let world = Arc::new(World {
            size,
            locals,
            barrier: memory(),
            nodes: (0..size / locals).map(|_| memory()).collect(),
            columns: (0..locals).map(|_| memory()).collect(),
            shown: (0..size).map(|_| Mutex::default()).collect(),
        });
        // Every rank allocates together with the others, so all must be on their way before one is waited for.
        let starting: Vec<_> = (0..size)
            .map(|rank| {
                let world = Arc::clone(&world);
                Communicator::start(move || Ok(Self { rank, world }))
            })
            .collect::<Result<_, _>>()?;
        starting.into_iter().map(super::communicator::Starting::wait).collect()
    }

    /// Runs `body` on every rank of such a world, each on a thread of its own, and gives what they yield, in order of
    /// rank.
    ///
    /// # Errors
    /// As [`Threads::world`].
    ///
    /// # Panics
    /// As [`Threads::world`], and when `body` does on one of the ranks.
    pub fn run<T: Send>(
        size: usize,
        locals: usize,
        body: impl Fn(&Communicator) -> T + Sync,
    ) -> Result<Vec<T>, CollectiveError> {
        let world = Self::world(size, locals)?;
        Ok(std::thread::scope(|scope| {
            let body = &body;
            let running: Vec<_> = world.into_iter().map(|rank| scope.spawn(move || body(&rank))).collect();
            let ended = running.into_iter().map(std::thread::ScopedJoinHandle::join);
            ended.map(|outcome| outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        }))
    }

    fn wait_all(&self) {
        counters(&self.world.barrier).wait(self.world.size as u32, true);
    }

    fn wait_across(&self) {
        let place = self.topology();
        counters(&self.world.columns[place.local()]).wait(place.nodes() as u32, true);
    }

    fn show(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.world.shown[self.rank].lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Ranks with this one's place in their nodes, by node.
    fn across(&self) -> impl Iterator<Item = usize> + use<> {
        let place = self.topology();
        (0..place.nodes()).map(move |node| node * place.locals + place.local())
    }

    fn seen<T>(&self, rank: usize, look: impl FnOnce(&Shown) -> T) -> T {
        look(&self.world.shown[rank].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn counters(memory: &Memory) -> &Counters {
    // SAFETY: the memory is zeroed (a valid state), aligned to 64 bytes and at least as long as the counters, which
    // are only touched atomically.
    unsafe { memory.start().cast::<Counters>().as_ref() }
}

impl Transport for Threads {
    fn topology(&self) -> Topology {
        Topology { rank: self.rank, size: self.world.size, locals: self.world.locals }
    }

    fn allocate(&mut self, bytes: usize) -> Result<Region, CollectiveError> {
        self.show(|shown| shown.memory = Some(Arc::new(Memory::zeroed(bytes))));
        self.wait_all();
        let place = self.topology();
        let first = place.node() * place.locals;
        let memories: Vec<Arc<Memory>> =
            (first..first + place.locals).filter_map(|rank| self.seen(rank, |shown| shown.memory.clone())).collect();
        self.wait_all();
        let copies = memories.iter().map(|memory| memory.start()).collect();
        let keep = memories.into_iter().map(|memory| memory as _).collect();
        // SAFETY: every copy is aligned, zeroed, `bytes` long, and kept.
        Ok(unsafe { Region::new(copies, place.local(), bytes, keep) })
    }

    fn node_barrier(&mut self, eager: bool) -> Result<(), CollectiveError> {
        counters(&self.world.nodes[self.topology().node()]).wait(self.world.locals as u32, eager);
        Ok(())
    }

    fn exchange(&mut self, from: &[u8], pieces: &[Range<usize>], to: &mut [u8]) -> Result<(), CollectiveError> {
        self.show(|shown| shown.bytes = from.to_vec());
        self.wait_across();
        let own = pieces[self.topology().node()].clone();
        for (rank, into) in self.across().zip(to.chunks_exact_mut(own.len().max(1))) {
            self.seen(rank, |shown| into.copy_from_slice(&shown.bytes[own.clone()]));
        }
        self.wait_across();
        Ok(())
    }

    fn gather(&mut self, values: &mut [u8], pieces: &[Range<usize>]) -> Result<(), CollectiveError> {
        self.show(|shown| shown.bytes = values.to_vec());
        self.wait_across();
        for (rank, piece) in self.across().zip(pieces) {
            self.seen(rank, |shown| values[piece.clone()].copy_from_slice(&shown.bytes[piece.clone()]));
        }
        self.wait_across();
        Ok(())
    }

    fn broadcast(&mut self, values: &mut [u8], root: usize) -> Result<(), CollectiveError> {
        self.show(|shown| shown.bytes = values.to_vec());
        self.wait_across();
        let place = self.topology();
        self.seen(root * place.locals + place.local(), |shown| values.copy_from_slice(&shown.bytes));
        self.wait_across();
        Ok(())
    }
}
