//! Collectives over MPI, through raw bindings with checked return codes and in-place buffers.

use std::ffi::{c_int, c_void};

use mpi::ffi;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::AsRaw;

use super::{Collective, CollectiveError};

unsafe extern "C" {
    fn syncyte_mpi_in_place() -> *const c_void;
}

/// MPI counts are C integers; larger buffers go in pieces of this many elements.
const MAX_COUNT: usize = 1 << 28;

/// All ranks that `mpirun` or `srun` started. MPI is finalised when it is dropped.
pub struct Mpi {
    rank: usize,
    size: usize,
    world: SimpleCommunicator,
    _universe: mpi::environment::Universe,
}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mpi(rank {} of {})", self.rank, self.size)
    }
}

impl Mpi {
    /// Whether this process was started as one of several ranks.
    pub fn launched() -> bool {
        ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_SIZE"].iter().any(|name| std::env::var_os(name).is_some())
    }

    /// Starts MPI. A panic on any rank ends all of them from then on.
    ///
    /// Returns `None` when MPI was started before in this process.
    pub fn start() -> Option<Self> {
        let (universe, _) = mpi::initialize_with_threading(mpi::Threading::Funneled)?;
        let world = universe.world();
        // SAFETY: MPI is initialised and the communicator is valid; the handler only changes how errors return.
        unsafe { ffi::MPI_Comm_set_errhandler(world.as_raw(), ffi::RSMPI_ERRORS_RETURN) };
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            previous(info);
            abort_world(101);
        }));
        Some(Self { rank: world.rank() as usize, size: world.size() as usize, world, _universe: universe })
    }

    fn check(&self, operation: &'static str, code: c_int) -> Result<(), CollectiveError> {
        if code == ffi::MPI_SUCCESS as c_int {
            Ok(())
        } else {
            Err(CollectiveError { operation, rank: self.rank, code })
        }
    }

    fn all_reduce<T>(
        &self,
        values: &mut [T],
        datatype: ffi::MPI_Datatype,
        op: ffi::MPI_Op,
    ) -> Result<(), CollectiveError> {
        for piece in values.chunks_mut(MAX_COUNT) {
            // SAFETY: the buffer is valid for `len` elements of `datatype`, which describes `T`; the result
            // overwrites it (in place); no other thread calls MPI.
            let code = unsafe {
                ffi::MPI_Allreduce(
                    syncyte_mpi_in_place(),
                    piece.as_mut_ptr().cast::<c_void>(),
                    piece.len() as c_int,
                    datatype,
                    op,
                    self.world.as_raw(),
                )
            };
            self.check("all-reduce", code)?;
        }
        Ok(())
    }
}

fn abort_world(code: i32) -> ! {
    // SAFETY: called only after MPI was initialised; it does not return to code that relies on MPI.
    unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, code) };
    std::process::exit(code)
}

impl Collective for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn all_reduce_sum(&self, values: &mut [f32]) -> Result<(), CollectiveError> {
        // SAFETY: constants of an initialised MPI library.
        let (datatype, op) = unsafe { (ffi::RSMPI_FLOAT, ffi::RSMPI_SUM) };
        self.all_reduce(values, datatype, op)
    }

    fn all_reduce_sum_f64(&self, values: &mut [f64]) -> Result<(), CollectiveError> {
        // SAFETY: constants of an initialised MPI library.
        let (datatype, op) = unsafe { (ffi::RSMPI_DOUBLE, ffi::RSMPI_SUM) };
        self.all_reduce(values, datatype, op)
    }

    fn all_reduce_max_u64(&self, values: &mut [u64]) -> Result<(), CollectiveError> {
        // SAFETY: constants of an initialised MPI library.
        let (datatype, op) = unsafe { (ffi::RSMPI_UINT64_T, ffi::RSMPI_MAX) };
        self.all_reduce(values, datatype, op)
    }

    fn all_gather_text(&self, text: &str) -> Result<Vec<String>, CollectiveError> {
        let mut lengths = vec![0_u64; self.size];
        lengths[self.rank] = text.len() as u64;
        self.all_reduce_max_u64(&mut lengths)?;
        // Texts are short (errors, digests): one slot of the longest length a rank, merged by maximum.
        let slot = lengths.iter().copied().max().unwrap_or(0) as usize;
        let mut bytes = vec![0_u64; slot * self.size];
        for (to, from) in bytes[slot * self.rank..].iter_mut().zip(text.bytes()) {
            *to = u64::from(from);
        }
        self.all_reduce_max_u64(&mut bytes)?;
        Ok((0..self.size)
            .map(|rank| {
                let own = &bytes[slot * rank..slot * rank + lengths[rank] as usize];
                String::from_utf8_lossy(&own.iter().map(|&b| b as u8).collect::<Vec<_>>()).into_owned()
            })
            .collect())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        // SAFETY: the communicator is valid.
        let code = unsafe { ffi::MPI_Barrier(self.world.as_raw()) };
        self.check("barrier", code)
    }

    fn abort(&self, code: i32) -> ! {
        abort_world(code)
    }
}
