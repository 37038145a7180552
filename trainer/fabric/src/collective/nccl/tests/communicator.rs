//! A communicator against the stand-in: what it calls, how long it waits, and how it ends.

use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::super::error::hint;
use super::super::interface::{Code, IN_PROGRESS, INVALID_USAGE, REMOTE, SUCCESS, UNHANDLED_CUDA};
use super::super::{Communicator, Config, DataType, DevicePointer, NcclError, Op, Progress, Stream, UniqueId};
use super::stand_in::{POLL, calls, clear, library, script};

const INIT: &str = "ncclCommInitRankConfig 4 9 1 0 8";
/// What [`reduce`] calls.
const REDUCE: &str = "ncclAllReduce 1 1 2 7 0 5ca1e 0";
const ABORT: &str = "ncclCommAbort";
const CLEAN_END: [&str; 3] = ["ncclCommFinalize", POLL, "ncclCommDestroy"];

/// Longer than any test, so that a wait that the script does not end is seen to hang.
const LONG: Duration = Duration::from_mins(10);

/// Rank 1 of 4, with at most 8 blocks of a GPU.
fn start(to_start: Duration, limit: Duration) -> Result<Communicator, NcclError> {
    let config = Config { max_ctas: NonZeroU16::new(8), limit };
    Communicator::start(&library(), UniqueId([9; 128]), 1, 4, config, Instant::now() + to_start)
}

fn started(limit: Duration) -> Communicator {
    clear();
    let communicator = start(LONG, limit).unwrap();
    calls();
    communicator
}

fn reduce(communicator: &Communicator) -> Result<(), NcclError> {
    let (buffer, stream) = (DevicePointer(1), Stream(std::ptr::null_mut()));
    // SAFETY: the stand-in reads and writes no buffer.
    unsafe { communicator.all_reduce(buffer, buffer, 2, DataType::F32, Op::Sum, stream) }
}

fn answer(symbol: &'static str, code: Code) {
    script(|script| script.codes.insert(symbol, code));
}

fn states<const N: usize>(states: [Code; N]) {
    script(|script| script.states = states.into());
}

#[test]
fn a_start_waits_until_every_rank_is_there() {
    for code in [SUCCESS, IN_PROGRESS] {
        clear();
        answer("ncclCommInitRankConfig", code);
        states([IN_PROGRESS, IN_PROGRESS, IN_PROGRESS, SUCCESS]);
        let communicator = start(LONG, LONG).unwrap();
        assert_eq!((calls(), script(|script| script.states.len())), (vec![INIT.to_owned(), POLL.to_owned()], 0));
        drop(communicator);
        assert_eq!(calls(), CLEAN_END);
    }
}

#[test]
fn a_start_for_which_a_rank_never_comes_is_aborted_at_the_deadline() {
    clear();
    script(|script| script.last = IN_PROGRESS);
    let error = start(Duration::from_millis(20), LONG).unwrap_err();
    assert!(matches!(&error, NcclError::Deadline { waited, .. } if waited.as_millis() >= 20), "{error}");
    let message = error.to_string();
    assert!(message.starts_with("rank 1 of 4: ncclCommInitRankConfig was not done after 0.0 s; not every rank"));
    assert!(message.contains("NCCL_SOCKET_IFNAME"), "{message}");
    assert_eq!(calls(), [INIT, POLL, ABORT]);
}

#[test]
fn a_start_that_fails_later_is_aborted_with_the_reason() {
    clear();
    states([IN_PROGRESS, INVALID_USAGE]);
    script(|script| script.last_error = c"Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1b000");
    let message = start(LONG, LONG).unwrap_err().to_string();
    assert_eq!(
        message.split("; ").take(2).collect::<Vec<_>>(),
        [
            "rank 1 of 4: ncclCommInitRankConfig failed with code 5 (in words): Duplicate GPU detected : rank 1 and \
             rank 0 both on CUDA device 1b000",
            "two ranks share one GPU"
        ]
    );
    assert_eq!(calls(), [INIT, POLL, ABORT]);
}

#[test]
fn a_start_that_makes_nothing_ends_the_group_that_it_may_have_left_open() {
    clear();
    answer("ncclCommInitRankConfig", UNHANDLED_CUDA);
    start(LONG, LONG).unwrap_err();
    assert_eq!(calls(), [INIT, "ncclGroupEnd"]);
}

#[test]
fn arguments_reach_nccl_in_its_order_and_with_its_numbers() {
    let communicator = started(LONG);
    let (send, receive, stream) =
        (DevicePointer(0xa), DevicePointer(0xb), Stream(std::ptr::without_provenance_mut(0xc)));
    // SAFETY: the stand-in reads and writes no buffer.
    unsafe {
        for (data, op) in [(DataType::Bf16, Op::Avg), (DataType::F64, Op::Max), (DataType::U64, Op::Sum)] {
            communicator.all_reduce(send, receive, 5, data, op, stream).unwrap();
        }
        communicator.reduce_scatter(send, receive, 5, DataType::F16, Op::Avg, stream).unwrap();
        communicator.all_gather(send, receive, 5, DataType::F32, stream).unwrap();
        communicator.broadcast(send, receive, 5, DataType::F32, 3, stream).unwrap();
    }
    assert_eq!(communicator.device().unwrap(), 3);
    let expected = [
        "ncclAllReduce a b 5 9 4 5ca1e c",
        "ncclAllReduce a b 5 8 2 5ca1e c",
        "ncclAllReduce a b 5 5 0 5ca1e c",
        "ncclReduceScatter a b 5 6 4 5ca1e c",
        "ncclAllGather a b 5 7 5ca1e c",
        "ncclBroadcast a b 5 7 3 5ca1e c",
        "ncclCommCuDevice",
    ];
    assert_eq!(calls(), expected);
}

#[test]
fn an_operation_is_on_its_stream_when_its_call_returns() {
    let communicator = started(LONG);
    answer("ncclAllReduce", IN_PROGRESS);
    states([IN_PROGRESS, IN_PROGRESS, SUCCESS]);
    reduce(&communicator).unwrap();
    assert_eq!((calls(), script(|script| script.states.len())), (vec![REDUCE.to_owned(), POLL.to_owned()], 0));
}

#[test]
fn an_operation_that_never_gets_on_its_stream_ends_at_the_limit() {
    let communicator = started(Duration::ZERO);
    answer("ncclAllReduce", IN_PROGRESS);
    script(|script| script.last = IN_PROGRESS);
    let message = reduce(&communicator).unwrap_err().to_string();
    assert!(message.starts_with("rank 1 of 4: ncclAllReduce was not done after 0.0 s; another rank"), "{message}");
    drop(communicator);
    assert_eq!(calls(), [REDUCE, POLL, ABORT]);
}

#[test]
fn a_group_is_waited_for_once_at_its_outer_end() {
    let communicator = started(LONG);
    for symbol in ["ncclAllReduce", "ncclGroupEnd"] {
        answer(symbol, IN_PROGRESS);
    }
    states([IN_PROGRESS, SUCCESS]);
    let value = communicator.group(|| {
        reduce(&communicator)?;
        communicator.group(|| reduce(&communicator))?;
        Ok(7)
    });
    assert_eq!(value.unwrap(), 7);
    let (first, last) = ("ncclGroupStart", "ncclGroupEnd");
    assert_eq!(calls(), [first, REDUCE, first, REDUCE, last, last, POLL]);
    reduce(&communicator).unwrap();
    assert_eq!(calls(), [REDUCE, POLL]);
}

#[test]
fn a_group_in_which_a_call_fails_is_ended_and_the_communicator_aborted() {
    let communicator = started(LONG);
    answer("ncclAllReduce", INVALID_USAGE);
    answer("ncclGroupEnd", INVALID_USAGE);
    let error = communicator.group(|| reduce(&communicator)).unwrap_err();
    assert!(matches!(error, NcclError::Call { call: "ncclAllReduce", .. }), "{error}");
    drop(communicator);
    assert_eq!(calls(), ["ncclGroupStart", REDUCE, "ncclGroupEnd", ABORT]);
}

#[test]
fn a_group_that_gives_up_for_another_reason_is_ended_and_the_communicator_aborted() {
    let communicator = started(LONG);
    let other = || NcclError::NotFound { reason: "elsewhere".to_owned() };
    let error = communicator.group(|| reduce(&communicator).and(Err::<(), _>(other()))).unwrap_err();
    assert!(matches!(error, NcclError::NotFound { .. }), "{error}");
    drop(communicator);
    assert_eq!(calls(), ["ncclGroupStart", REDUCE, "ncclGroupEnd", ABORT]);
}

#[test]
fn what_nccl_would_put_off_until_the_end_of_a_group_is_refused_inside() {
    let (communicator, other) = (started(LONG), started(LONG));
    communicator
        .group(|| {
            assert!(matches!(start(LONG, LONG), Err(NcclError::InGroup { call: "ncclCommInitRankConfig", .. })));
            assert!(matches!(reduce(&other), Err(NcclError::InGroup { call: "ncclAllReduce", .. })));
            Ok(())
        })
        .unwrap();
    assert_eq!(calls(), ["ncclGroupStart", "ncclGroupEnd"]);
    reduce(&other).unwrap();
    let aborted = communicator.group(|| communicator.abort());
    assert!(matches!(aborted, Err(NcclError::InGroup { call: ABORT, .. })));
    drop(communicator);
    assert_eq!(calls(), [REDUCE, "ncclGroupStart", "ncclGroupEnd", ABORT]);
}

#[test]
fn a_panic_in_a_group_ends_it_and_the_communicator_is_aborted() {
    let communicator = started(LONG);
    let group = AssertUnwindSafe(|| communicator.group(|| -> Result<(), NcclError> { panic!("in a group") }));
    catch_unwind(group).unwrap_err();
    assert!(matches!(reduce(&communicator), Err(NcclError::Unusable { call: "ncclAllReduce", .. })));
    drop(communicator);
    assert_eq!(calls(), ["ncclGroupStart", "ncclGroupEnd", ABORT]);
}

#[test]
fn a_failure_after_the_call_is_reported_and_ends_the_communicator() {
    let communicator = started(LONG);
    states([SUCCESS, IN_PROGRESS, REMOTE]);
    assert_eq!(communicator.async_error().unwrap(), Progress::Ready);
    assert_eq!(communicator.async_error().unwrap(), Progress::InProgress);
    let message = communicator.async_error().unwrap_err().to_string();
    assert!(message.starts_with("rank 1 of 4: ncclCommGetAsyncError failed with code 6"), "{message}");
    assert!(message.ends_with("another rank ended or cannot be reached; its own message says why"), "{message}");
    let message = reduce(&communicator).unwrap_err().to_string();
    assert!(message.starts_with("rank 1 of 4: ncclAllReduce was not called"), "{message}");
    drop(communicator);
    assert_eq!(calls(), [POLL, ABORT]);
}

#[test]
fn a_communicator_is_aborted_once() {
    let communicator = started(LONG);
    communicator.abort().unwrap();
    communicator.abort().unwrap();
    reduce(&communicator).unwrap_err();
    communicator.async_error().unwrap_err();
    drop(communicator);
    assert_eq!(calls(), [ABORT]);
}

#[test]
fn an_abort_that_fails_says_so_and_is_not_repeated() {
    let communicator = started(LONG);
    answer(ABORT, UNHANDLED_CUDA);
    assert!(matches!(communicator.abort(), Err(NcclError::Call { call: ABORT, code: UNHANDLED_CUDA, .. })));
    drop(communicator);
    assert_eq!(calls(), [ABORT]);
}

#[test]
fn a_clean_end_waits_for_finalising_and_then_destroys() {
    let communicator = started(LONG);
    answer("ncclCommFinalize", IN_PROGRESS);
    states([IN_PROGRESS, IN_PROGRESS, SUCCESS]);
    communicator.finalize().unwrap();
    assert_eq!((calls(), script(|script| script.states.len())), (CLEAN_END.map(str::to_owned).to_vec(), 0));
}

#[test]
fn an_end_that_the_other_ranks_do_not_join_is_an_abort() {
    let communicator = started(Duration::ZERO);
    script(|script| script.last = IN_PROGRESS);
    let message = communicator.finalize().unwrap_err().to_string();
    assert!(message.starts_with("rank 1 of 4: ncclCommFinalize was not done"), "{message}");
    assert_eq!(calls(), ["ncclCommFinalize", POLL, ABORT]);
}

#[test]
fn a_rank_that_panics_aborts_and_does_not_wait_for_the_others() {
    let communicator = started(LONG);
    catch_unwind(AssertUnwindSafe(move || {
        let _communicator = communicator;
        panic!("while it is held");
    }))
    .unwrap_err();
    assert_eq!(calls(), [ABORT]);
}

#[test]
fn hints_are_given_for_what_is_known_only() {
    let hints = [
        (INVALID_USAGE, "Duplicate GPU detected : rank 0", "two ranks share one GPU; NCCL before 2.30 refuses"),
        (INVALID_USAGE, "Mismatched NCCL version detected : rank 0", "different releases of NCCL"),
        (INVALID_USAGE, "", "two ranks share one GPU, or the ranks have loaded different releases"),
        (UNHANDLED_CUDA, "Cuda failure 'no CUDA-capable device is detected'", "CUDA_VISIBLE_DEVICES"),
        (UNHANDLED_CUDA, "Cuda failure 'CUDA driver version is insufficient for …'", "no NVIDIA driver"),
        (REMOTE, "", "another rank ended"),
    ];
    for (code, text, expected) in hints {
        assert!(hint(code, text).contains(expected), "{code} {text}: {}", hint(code, text));
    }
    // An old complaint of another call explains nothing.
    assert_eq!([hint(2, "Duplicate GPU detected"), hint(UNHANDLED_CUDA, "Cuda failure 'out of memory'")], ["", ""]);
}
