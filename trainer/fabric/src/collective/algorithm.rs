//! The collectives, written once for all backends: within a node through shared memory, between nodes by pieces.
//!
//! Guarantee: a sum is that of the binary tree of [`number`](super::number) over all ranks, whatever the nodes (of a
//! power of two of ranks each), so a run on several hosts has the bits of the same run on one, unless numbers travel
//! rounded ([`Wire`]). Every number crosses the network once each way, as in a ring.
//!
//! Within a node the rank with place `i` of `n` sums the `i`-th part of all copies and writes the result to all copies.

use std::ops::Range;

use bytemuck::Pod;
use syncyte_kernels::number::Bf16;

use super::number::{Number, part, tree_sum};
use super::region::Region;
use super::transport::{Topology, Transport};
use super::{CollectiveError, Operation, Wire};

/// Bytes that one exchange of an all-reduce or a broadcast moves at most, so that buffers stay small.
const STRIDE_BYTES: usize = 64 << 20;

/// Bytes that other operations move at most, since counts of MPI are C integers.
const MOST_BYTES: usize = 1 << 30;

/// Runs an operation on a range of a region, counted in `T`.
pub(super) fn run<T: Number + Pod>(
    transport: &mut dyn Transport,
    operation: Operation,
    region: &Region,
    range: Range<usize>,
    eager: bool,
) -> Result<(), CollectiveError> {
    let place = transport.topology();
    if range.len() * size_of::<T>() > MOST_BYTES
        && matches!(operation, Operation::ReduceScatter(_) | Operation::AllGather)
    {
        return Err(CollectiveError::new(operation.name(), place.rank, "more than 1 GiB at once".into()));
    }
    transport.node_barrier(eager)?;
    match operation {
        Operation::AllReduce(wire) => {
            sum_within_node::<T>(place, region, &range, Reach::All);
            if place.nodes() > 1 {
                for stride in strides::<T>(&place.local_part(&range, place.local())) {
                    sum_between_nodes::<T>(transport, region, &stride, wire)?;
                    gather_between_nodes::<T>(transport, region, &stride, wire)?;
                }
                share::<T>(place, region, &place.local_part(&range, place.local()));
            }
        }
        Operation::ReduceScatter(wire) => {
            sum_within_node::<T>(place, region, &range, Reach::Own);
            if place.nodes() > 1 {
                sum_between_nodes::<T>(transport, region, &place.local_part(&range, place.local()), wire)?;
            }
        }
        Operation::AllGather => {
            let own = place.local_part(&range, place.local());
            if place.nodes() > 1 {
                gather_between_nodes::<T>(transport, region, &own, Wire::F32)?;
            }
            share::<T>(place, region, &own);
        }
        Operation::Fetch { behind } => {
            let next = (region.own() + 1) % place.locals;
            // SAFETY: between the barriers nobody writes to the range in any copy, and only this rank touches what lies
            // behind it in its own.
            let (from, to) = unsafe {
                (
                    region.read::<T>(next, range.clone()),
                    region.write::<T>(region.own(), range.start + behind..range.end + behind),
                )
            };
            to.copy_from_slice(from);
        }
        Operation::Broadcast { root } => broadcast::<T>(transport, region, &range, root, eager)?,
    }
    transport.node_barrier(eager)
}

/// Who gets the sum of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All ranks of the node, unless it goes on to other nodes first.
    All,
    /// The rank that summed it.
    Own,
}

fn sum_within_node<T: Number + Pod>(place: Topology, region: &Region, range: &Range<usize>, reach: Reach) {
    if place.locals == 1 {
        return;
    }
    let own = place.local_part(range, place.local());
    let everyone = reach == Reach::All && place.nodes() == 1;
    // SAFETY: between the two barriers of an operation only this rank touches this part of any copy of the node; a
    // block is read from all copies before it is written to any.
    tree_sum::<T>(place.locals, own, &|copy, block| unsafe { region.read(copy, block) }, &mut |block, sums| {
        let mut put = |copy: usize| {
            // SAFETY: as above.
            unsafe { region.write::<T>(copy, block.clone()) }.copy_from_slice(sums);
        };
        if everyone {
            (0..place.locals).for_each(&mut put);
        } else {
            put(region.own());
        }
    });
}

/// Copies this rank's part to the other copies of the node.
fn share<T: Pod>(place: Topology, region: &Region, own: &Range<usize>) {
    for copy in (0..place.locals).filter(|&copy| copy != region.own()) {
        // SAFETY: between the barriers of an operation only this rank touches this part of any copy.
        let (from, to) = unsafe { (region.read::<T>(region.own(), own.clone()), region.write::<T>(copy, own.clone())) };
        to.copy_from_slice(from);
    }
}

/// A range in pieces that one exchange can take.
fn strides<T>(range: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<T> {
    let (step, end) = (STRIDE_BYTES / size_of::<T>(), range.end);
    range.clone().step_by(step).map(move |start| start..(start + step).min(end))
}

/// The part of `range` of every node, relative to its start and counted in bytes; a number has `each`.
fn pieces(place: Topology, range: &Range<usize>, each: usize) -> Vec<Range<usize>> {
    let bytes = |range: Range<usize>| range.start * each..range.end * each;
    (0..place.nodes()).map(|node| bytes(part(&(0..range.len()), node, place.nodes()))).collect()
}

/// Afterwards this rank's copy holds, in its node's piece of `range`, the sum over nodes.
fn sum_between_nodes<T: Number + Pod>(
    transport: &mut dyn Transport,
    region: &Region,
    range: &Range<usize>,
    wire: Wire,
) -> Result<(), CollectiveError> {
    let place = transport.topology();
    let own = part(range, place.node(), place.nodes());
    // SAFETY: between the barriers of an operation only this rank touches its own part of its own copy.
    let values = unsafe { region.write::<T>(region.own(), range.clone()) };
    let mut received = vec![T::zeroed(); own.len() * place.nodes()];
    match wire {
        Wire::F32 => {
            let pieces = pieces(place, range, size_of::<T>());
            transport.exchange(bytemuck::cast_slice(values), &pieces, bytemuck::cast_slice_mut(&mut received))?;
        }
        Wire::Bf16 => {
            let pieces = pieces(place, range, size_of::<Bf16>());
            let mut arrived = vec![Bf16::default(); received.len()];
            let rounded = T::rounded(values);
            transport.exchange(bytemuck::cast_slice(&rounded), &pieces, bytemuck::cast_slice_mut(&mut arrived))?;
            T::widen(&arrived, &mut received);
        }
    }
    let (offset, n) = (own.start - range.start, own.len());
    tree_sum::<T>(
        place.nodes(),
        0..n,
        &|node, block| &received[node * n + block.start..node * n + block.end],
        &mut |block, sums| values[offset + block.start..offset + block.end].copy_from_slice(sums),
    );
    Ok(())
}

fn gather_between_nodes<T: Number + Pod>(
    transport: &mut dyn Transport,
    region: &Region,
    range: &Range<usize>,
    wire: Wire,
) -> Result<(), CollectiveError> {
    let place = transport.topology();
    // SAFETY: between the barriers of an operation only this rank touches its own part of its own copy.
    let values = unsafe { region.write::<T>(region.own(), range.clone()) };
    match wire {
        Wire::F32 => transport.gather(bytemuck::cast_slice_mut(values), &pieces(place, range, size_of::<T>())),
        Wire::Bf16 => {
            // What this rank has summed is rounded here too, so that all ranks hold the same.
            let mut rounded = T::rounded(values);
            transport.gather(bytemuck::cast_slice_mut(&mut rounded), &pieces(place, range, size_of::<Bf16>()))?;
            T::widen(&rounded, values);
            Ok(())
        }
    }
}

fn broadcast<T: Number + Pod>(
    transport: &mut dyn Transport,
    region: &Region,
    range: &Range<usize>,
    root: usize,
    eager: bool,
) -> Result<(), CollectiveError> {
    let place = transport.topology();
    // The ranks with the root's place in their nodes get the values, then hand them on within their nodes.
    if place.local() == root % place.locals {
        if place.nodes() > 1 {
            for stride in strides::<T>(range) {
                // SAFETY: the others of the node do not touch the region before the barrier below.
                let values = unsafe { region.write::<T>(region.own(), stride) };
                transport.broadcast(bytemuck::cast_slice_mut(values), root / place.locals)?;
            }
        }
        share::<T>(place, region, range);
    }
    transport.node_barrier(eager)
}
