//! Operations on the memory of GPUs, by NCCL.
//!
//! Guarantee: they run among all other operations of the rank, on the communication thread, in the order in which they
//! were asked for, and each after what torch had put on its stream by then. A [`Pending`] one is complete when the GPU
//! has done it. NCCL chooses the order of a sum, so its bits are not those of the tree; every rank gets the same ones.
//!
//! Not checked without GPUs: everything but which calls an operation becomes.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, result};

use super::communicator::{Pending, Starter};
use super::nccl::{Communicator, Config, DataType, DevicePointer, Library, Op, Stream, UniqueId};
use super::transport::Topology;
use super::{Collective, CollectiveError, Label, Operation};
use crate::hash::hex;
use crate::watch;

/// How often a rank looks before it sleeps between looks, and for how long.
const EAGER_POLLS: u32 = 1_000;
const NAP: Duration = Duration::from_micros(50);

/// f32 values in the memory of a rank's GPU.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRegion {
    pointer: u64,
    len: usize,
}

impl DeviceRegion {
    /// # Safety
    /// There are `len` f32 at `pointer` on the GPU of the [`Devices`] that it is used with, and they live until the
    /// operations on them are complete.
    pub unsafe fn new(pointer: u64, len: usize) -> Self {
        Self { pointer, len }
    }

    fn at(self, element: usize) -> DevicePointer {
        DevicePointer(self.pointer + (element * size_of::<f32>()) as u64)
    }
}

/// The GPUs of all ranks. Clones are the same.
#[derive(Clone)]
pub struct Devices {
    starter: Starter,
    /// Where torch's work is put.
    torch: Arc<CudaStream>,
    link: Arc<Mutex<Link>>,
}

impl std::fmt::Debug for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Devices({:?})", self.starter)
    }
}

impl Devices {
    /// Starts NCCL between the GPUs of all ranks; `ordinal` is the number of this rank's. `limit` is the longest that
    /// ranks wait for each other here, and that NCCL may take to put an operation on its stream. Collective.
    ///
    /// # Errors
    /// When NCCL cannot be opened, the driver refuses, or a rank does not start in time.
    pub fn start(ordinal: usize, limit: Duration, collective: &dyn Collective) -> Result<Self, CollectiveError> {
        let (rank, starter) = (collective.rank(), collective.starter());
        let failed = move |cause: String| CollectiveError::new("start of NCCL", rank, cause);
        // The others wait for the id of the first rank, so it answers them whatever happens to it.
        let own = (rank == 0).then(|| Library::open(None).and_then(|library| library.unique_id()));
        let text = own.as_ref().and_then(|made| made.as_ref().ok()).map_or_else(String::new, |id| hex(&id.0));
        let texts = collective.all_gather_text(&text)?;
        if let Some(Err(error)) = own {
            return Err(failed(error.to_string()));
        }
        let id = texts.first().and_then(|text| parse_id(text));
        let id = id.ok_or_else(|| failed("the first rank could not make an id; its own message says why".into()))?;
        let library = Library::open(None).map_err(|error| failed(error.to_string()))?;
        let slot = Arc::new(Mutex::new(None));
        let (fill, place) = (Arc::clone(&slot), starter.place());
        let start = move || -> Result<(), String> {
            let words = |error: result::DriverError| error.to_string();
            // Makes the device current on this thread, on which NCCL is used from now on.
            let context = CudaContext::new(ordinal).map_err(words)?;
            let (_, highest) = result::stream::get_priority_range().map_err(words)?;
            let stream = context.new_stream_with_priority(highest).map_err(words)?;
            let config = Config { limit, ..Config::default() };
            let communicator =
                Communicator::start(&library, id, place.rank, place.size, config, Instant::now() + limit)
                    .map_err(|error| error.to_string())?;
            *lock(&fill) = Some((Link { communicator, stream }, context.default_stream()));
            Ok(())
        };
        starter
            .submit(watch::Operation::Barrier, Label::plain("start of NCCL"), 0, move |_| start().map_err(failed))
            .wait()?;
        let started = lock(&slot).take();
        let (link, torch) = started.ok_or_else(|| failed("nothing was started".into()))?;
        Ok(Self { starter, torch, link: Arc::new(Mutex::new(link)) })
    }

    /// Starts an operation, as [`Starter::start`] does on a region of the host. Until it is complete, nothing that is
    /// put on torch's stream from now on may touch the range.
    ///
    /// # Panics
    /// When the range lies outside of the region.
    pub fn run(&self, operation: Operation, region: DeviceRegion, range: Range<usize>, label: Label) -> Pending {
        let (place, link) = (self.starter.place(), Arc::clone(&self.link));
        let ready = self.torch.record_event(None);
        let bytes = range.len() * size_of::<f32>();
        assert!(range.start <= range.end && range.end <= region.len, "outside of the region");
        self.starter.submit(operation.kind(), label, bytes, move |_| {
            let done = ready.map_err(|error| error.to_string()).and_then(|ready| {
                let call = call(operation, &range, place)?;
                lock(&link).run(&ready, region, &range, &call, place.rank)
            });
            done.map_err(|cause| CollectiveError::new(operation.name(), place.rank, cause))
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parse_id(text: &str) -> Option<UniqueId> {
    let mut id = [0; 128];
    if text.len() != 2 * id.len() {
        return None;
    }
    for (byte, at) in id.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(UniqueId(id))
}

/// What NCCL is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// The sum of the whole range, everywhere.
    AllReduce,
    /// The sum of as many elements for every rank, in order of rank.
    ReduceScatter(usize),
    /// As many elements of every rank, in order of rank.
    AllGather(usize),
    /// Ranges of single ranks, to all.
    Broadcasts(Vec<(usize, Range<usize>)>),
}

/// How NCCL does an operation. It knows equal parts in order of rank alone; other parts are summed with the whole range
/// and gathered one by one.
fn call(operation: Operation, range: &Range<usize>, place: Topology) -> Result<Call, String> {
    let parts: Vec<_> = (0..place.size).map(|rank| place.owned(range, rank)).collect();
    let each = range.len() / place.size;
    let even = range.len().is_multiple_of(place.size)
        && parts
            .iter()
            .enumerate()
            .all(|(rank, part)| *part == (range.start + rank * each..range.start + (rank + 1) * each));
    Ok(match operation {
        Operation::ReduceScatter(_) if even => Call::ReduceScatter(each),
        Operation::AllReduce(_) | Operation::ReduceScatter(_) => Call::AllReduce,
        Operation::AllGather if even => Call::AllGather(each),
        Operation::AllGather => {
            Call::Broadcasts(parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()).collect())
        }
        Operation::Broadcast { root } => Call::Broadcasts(vec![(root, range.clone())]),
        Operation::Fetch { .. } => return Err("a GPU does not see the memory of another rank".into()),
    })
}

/// NCCL and the stream that it works on. Used by the communication thread.
struct Link {
    communicator: Communicator,
    stream: Arc<CudaStream>,
}

impl Drop for Link {
    fn drop(&mut self) {
        // To finalise would wait for the other ranks, of which one may have failed. What this rank asked for is complete,
        // and where the run ended well the ranks have met since: nothing is cut off. Nobody is left to tell.
        let _ = self.communicator.abort();
    }
}

impl Link {
    /// Runs a call after `ready`, to its end.
    fn run(
        &self,
        ready: &CudaEvent,
        region: DeviceRegion,
        range: &Range<usize>,
        call: &Call,
        rank: usize,
    ) -> Result<(), String> {
        let done = self.put(ready, region, range, call, rank).and_then(|done| self.wait(&done));
        if done.is_err() {
            // The others wait for this rank. What went wrong first is what is told.
            let _ = self.communicator.abort();
        }
        done
    }

    /// Puts a call on the stream; the event is behind it.
    fn put(
        &self,
        ready: &CudaEvent,
        region: DeviceRegion,
        range: &Range<usize>,
        call: &Call,
        rank: usize,
    ) -> Result<CudaEvent, String> {
        let words = |error: result::DriverError| error.to_string();
        let nccl = &self.communicator;
        self.stream.wait(ready).map_err(words)?;
        let (stream, data, start) = (Stream(self.stream.cu_stream().cast()), DataType::F32, region.at(range.start));
        // SAFETY: the region has `range` (checked by `Devices::run`), of which each call reads and writes parts; it lives
        // until the operation is complete, by its contract, and the stream as long as the communicator. All ranks ask for
        // the same operations on the same ranges in the same order.
        let put = unsafe {
            match call {
                Call::AllReduce => nccl.all_reduce(start, start, range.len(), data, Op::Sum, stream),
                Call::ReduceScatter(each) => {
                    nccl.reduce_scatter(start, region.at(range.start + rank * each), *each, data, Op::Sum, stream)
                }
                Call::AllGather(each) => {
                    nccl.all_gather(region.at(range.start + rank * each), start, *each, data, stream)
                }
                Call::Broadcasts(parts) => nccl.group(|| {
                    parts.iter().try_for_each(|(root, part)| {
                        let values = region.at(part.start);
                        nccl.broadcast(values, values, part.len(), data, *root, stream)
                    })
                }),
            }
        };
        put.map_err(|error| error.to_string())?;
        self.stream.record_event(None).map_err(words)
    }

    /// Waits until the GPU has come to an event, or NCCL says that it never will. A lost rank that NCCL does not notice
    /// is the business of the watchdog, which ends the process.
    fn wait(&self, done: &CudaEvent) -> Result<(), String> {
        let mut polls = 0;
        while !done.try_is_complete().map_err(|error| error.to_string())? {
            self.communicator.async_error().map_err(|error| error.to_string())?;
            if polls < EAGER_POLLS {
                polls += 1;
                std::thread::yield_now();
            } else {
                std::thread::sleep(NAP);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::collective::Wire;

    #[test]
    fn an_id_survives_its_way_as_text_and_nothing_else_is_taken_for_one() {
        let mut id = [0; 128];
        id.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 37 + 200) as u8);
        let text = hex(&id);
        assert_eq!(parse_id(&text), Some(UniqueId(id)));
        assert_eq!([parse_id(""), parse_id(&text[2..]), parse_id(&text.replace('0', "x"))], [None; 3]);
    }

    #[test]
    fn equal_parts_in_order_of_rank_are_nccls_own_and_others_are_not() {
        let (one_node, two_nodes) =
            (Topology { rank: 1, size: 4, locals: 4 }, Topology { rank: 1, size: 4, locals: 2 });
        let even = 64..64 + 4 * 160;
        assert_eq!(call(Operation::ReduceScatter(Wire::F32), &even, one_node), Ok(Call::ReduceScatter(160)));
        assert_eq!(call(Operation::AllGather, &even, one_node), Ok(Call::AllGather(160)));
        // The ranks 0, 2, 1, 3 own the quarters here.
        assert_eq!(call(Operation::ReduceScatter(Wire::F32), &even, two_nodes), Ok(Call::AllReduce));
        let quarter = |index: usize| 64 + index * 160..64 + (index + 1) * 160;
        let owners = vec![(0, quarter(0)), (1, quarter(2)), (2, quarter(1)), (3, quarter(3))];
        assert_eq!(call(Operation::AllGather, &even, two_nodes), Ok(Call::Broadcasts(owners)));
        assert_eq!(call(Operation::Broadcast { root: 3 }, &(5..9), one_node), Ok(Call::Broadcasts(vec![(3, 5..9)])));
        assert!(call(Operation::Fetch { behind: 0 }, &even, one_node).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn every_rank_makes_the_same_call_and_a_gathering_brings_each_element_from_its_owner(
            start in 0_usize..1000, len in 0_usize..5000, locals in 1_usize..5, nodes in 1_usize..4,
        ) {
            let (size, range) = (locals * nodes, start..start + len);
            let place = |rank| Topology { rank, size, locals };
            let calls: Vec<_> = (0..size).map(|rank| call(Operation::AllGather, &range, place(rank))).collect();
            prop_assert!(calls.windows(2).all(|pair| pair[0] == pair[1]));
            let mut brought: Vec<(usize, Range<usize>)> = match calls[0].as_ref().unwrap() {
                Call::AllGather(each) => (0..size)
                    .map(|rank| (rank, start + rank * each..start + (rank + 1) * each))
                    .collect(),
                Call::Broadcasts(parts) => parts.clone(),
                other => panic!("{other:?} gathers nothing"),
            };
            brought.sort_by_key(|(_, part)| part.start);
            let mut at = start;
            for (owner, part) in brought {
                prop_assert_eq!(part.start, at);
                prop_assert_eq!(&part, &place(0).owned(&range, owner));
                at = part.end;
            }
            prop_assert_eq!(at, range.end);
        }
    }
}
