use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::checkpoint::fixtures::{on_ranks, snapshot, state, trained};
use crate::checkpoint::part::report_path;
use crate::checkpoint::{Checkpoint, latest, latest_or_named};
use crate::engine::digest_of;
use syncyte_fabric::collective::Solo;

const LIMIT: Duration = Duration::from_mins(1);

fn checkpointer(folder: &Path, limit: Duration, collective: &dyn Collective) -> Checkpointer {
    Checkpointer::new(folder, &CheckpointConfig::default(), limit, collective)
}

/// Writes the checkpoint of a step on `world` ranks.
fn write_step(folder: &Path, step: u64, world: usize) -> Written {
    let written = on_ranks(world, |rank| {
        let trained = trained(step, rank);
        let mut checkpointer = checkpointer(folder, LIMIT, rank);
        checkpointer.begin(snapshot(&trained, rank), rank).unwrap();
        checkpointer.finish(rank).unwrap().unwrap()
    });
    assert!(written.windows(2).all(|pair| pair[0] == pair[1]), "all ranks know the same");
    written.into_iter().next().unwrap()
}

/// Names below a folder.
fn names(folder: &Path) -> BTreeSet<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

/// A digest of the bits of parameters, teacher and moments.
fn bits(state: &FlatState) -> [u8; 32] {
    let flat = |set: &ParamSet| Vec::<f32>::try_from(set.flat()).unwrap();
    let mut all = flat(&state.params);
    all.extend(flat(state.teacher.as_ref().unwrap()));
    for run in state.moments(&(0..state.params.layout().len())).runs().unwrap() {
        all.extend(run.m.iter().chain(run.v));
    }
    digest_of(&all)
}

fn restored(checkpoint: &Checkpoint) -> FlatState {
    let mut state = trained(77, &Solo);
    checkpoint.restore(&mut state).unwrap();
    state
}

#[test]
fn a_checkpoint_of_any_number_of_ranks_holds_the_state_of_its_step_bit_by_bit() {
    for world in [1, 2, 4] {
        let folder = TempDir::new().unwrap();
        let written = write_step(folder.path(), 7, world);
        assert_eq!(names(folder.path()), set(["step-00000007"]));
        let mut files = set(["MANIFEST.json", "model.safetensors", "state.json", "teacher.safetensors"]);
        files.extend((0..world).map(|rank| format!("optimizer-{rank}-of-{world}.safetensors")));
        assert_eq!(names(&written.folder), files);

        let checkpoint = latest(folder.path()).unwrap();
        let original = trained(7, &Solo);
        let restored = restored(&checkpoint);
        assert_eq!(bits(&restored), bits(&original));
        assert_eq!(restored.step(), 7);
        let hash = original.parameter_hash().unwrap();
        assert_eq!((checkpoint.state.parameter_hash.as_str(), written.parameter_hash.as_str()), (&*hash, &*hash));
    }
}

#[test]
fn what_training_does_after_begin_does_not_reach_the_checkpoint_and_buffers_are_used_again() {
    let folder = TempDir::new().unwrap();
    on_ranks(2, |rank| {
        let mut checkpointer = checkpointer(folder.path(), LIMIT, rank);
        checkpointer.reserve(&trained(1, rank)).unwrap();
        let address =
            |buffers: &Buffers| buffers.iter().map(|(name, b)| (name.clone(), b.as_ptr())).collect::<Vec<_>>();
        let before = address(&checkpointer.buffers);
        for step in [10, 20] {
            let trained = trained(step, rank);
            checkpointer.begin(snapshot(&trained, rank), rank).unwrap();
            tch::no_grad(|| {
                let _ = trained.params.flat().shallow_clone().fill_(-1.0);
                let _ = trained.teacher.as_ref().unwrap().flat().shallow_clone().fill_(-1.0);
            });
        }
        let last = checkpointer.finish(rank).unwrap().unwrap();
        assert_eq!(last.step, 20);
        assert_eq!(address(&checkpointer.buffers), before);
        match (rank.rank(), checkpointer.outcome()) {
            (0, Outcome::Written(written)) => assert_eq!(written, last),
            (1, Outcome::Idle) => {}
            (rank, other) => panic!("rank {rank}: {other:?}"),
        }
    });
    for step in [10, 20] {
        let checkpoint = Checkpoint::open(&step_folder(folder.path(), step)).unwrap();
        assert_eq!(bits(&restored(&checkpoint)), bits(&trained(step, &Solo)), "step {step}");
    }
}

#[test]
fn a_file_that_cannot_be_written_stops_all_ranks_by_name_and_leaves_what_was_there() {
    for (victim, file) in [(0, "model.safetensors"), (1, "teacher.safetensors"), (1, "optimizer-1-of-2.safetensors")] {
        let folder = TempDir::new().unwrap();
        write_step(folder.path(), 10, 2);
        let errors = on_ranks(2, |rank| {
            let trained = trained(20, rank);
            let mut checkpointer = checkpointer(folder.path(), LIMIT, rank);
            let snapshot = snapshot(&trained, rank);
            checkpointer.open(&snapshot, rank).unwrap();
            if rank.rank() == 0 {
                // Something is in the way of a file, whoever the user is.
                fs::create_dir(partial_folder(folder.path(), 20).join(file)).unwrap();
            }
            rank.barrier().unwrap();
            checkpointer.launch(snapshot).unwrap();
            // As training does: steps go on until a flag is up on any rank.
            loop {
                let mut flags = [f64::from(checkpointer.pending_error())];
                rank.all_reduce_sum_f64(&mut flags).unwrap();
                if flags[0] > 0.0 {
                    break checkpointer.raise(rank).to_string();
                }
            }
        });
        assert_eq!(errors[0], errors[1]);
        let wanted = [format!("rank {victim}: "), format!("step-00000020.partial/{file}"), "xists".to_owned()];
        assert!(wanted.iter().all(|part| errors[0].contains(part)), "{}", errors[0]);
        assert_eq!(errors[0].matches("rank ").count(), 1, "{}", errors[0]);
        assert_eq!(names(folder.path()), set(["step-00000010"]));
        assert_eq!(latest(folder.path()).unwrap().state.step, 10);
    }
}

#[test]
fn a_failure_nobody_asked_about_ends_the_next_checkpoint_and_the_run_on_all_ranks() {
    for last in [false, true] {
        let folder = TempDir::new().unwrap();
        let errors = on_ranks(2, |rank| {
            let trained = trained(10, rank);
            let mut checkpointer = checkpointer(folder.path(), LIMIT, rank);
            let first = snapshot(&trained, rank);
            checkpointer.open(&first, rank).unwrap();
            if rank.rank() == 1 {
                fs::create_dir(partial_folder(folder.path(), 10).join("teacher.safetensors")).unwrap();
            }
            rank.barrier().unwrap();
            checkpointer.launch(first).unwrap();
            let error = if last {
                checkpointer.finish(rank).unwrap_err()
            } else {
                checkpointer.begin(snapshot(&trained, rank), rank).unwrap_err()
            };
            error.to_string()
        });
        assert_eq!(errors[0], errors[1]);
        assert!(errors[0].contains("rank 1: ") && errors[0].contains("teacher.safetensors"), "{}", errors[0]);
        assert!(names(folder.path()).is_empty());
    }
}

#[test]
fn a_rank_that_never_reports_is_named_within_the_limit_and_no_checkpoint_is_made() {
    let folder = TempDir::new().unwrap();
    write_step(folder.path(), 10, 3);
    let limit = Duration::from_millis(200);
    let errors = on_ranks(3, |rank| {
        let trained = trained(20, rank);
        let mut checkpointer = checkpointer(folder.path(), limit, rank);
        let snapshot = snapshot(&trained, rank);
        checkpointer.open(&snapshot, rank).unwrap();
        if rank.rank() != 1 {
            checkpointer.launch(snapshot).unwrap();
        }
        let began = Instant::now();
        let error = checkpointer.finish(rank).unwrap_err().to_string();
        // It is the limit that ends the wait, not a time-out of something else.
        assert!(began.elapsed() < LIMIT);
        error
    });
    assert!(errors.windows(2).all(|pair| pair[0] == pair[1]), "{errors:?}");
    assert!(errors[0].contains("rank 0: ") && errors[0].contains("rank 1 has not reported within 0.2 s"), "{errors:?}");
    assert_eq!(names(folder.path()), set(["step-00000010"]));
}

#[test]
fn a_rank_that_cannot_even_report_is_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let errors = on_ranks(2, |rank| {
        let trained = trained(20, rank);
        let mut checkpointer = checkpointer(folder.path(), LIMIT, rank);
        let snapshot = snapshot(&trained, rank);
        checkpointer.open(&snapshot, rank).unwrap();
        if rank.rank() == 1 {
            fs::create_dir(report_path(&partial_folder(folder.path(), 20), 1).with_extension("partial")).unwrap();
        }
        rank.barrier().unwrap();
        checkpointer.launch(snapshot).unwrap();
        checkpointer.finish(rank).unwrap_err().to_string()
    });
    assert_eq!(errors[0], errors[1]);
    assert!(errors[0].contains("rank 1: ") && errors[0].contains(".rank-1."), "{}", errors[0]);
    assert!(!errors[0].contains("rank 0: "), "{}", errors[0]);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_on_all_ranks_before_anything_is_copied() {
    let folder = TempDir::new().unwrap();
    let checkpoints = folder.path().join("checkpoints");
    fs::write(&checkpoints, "a file").unwrap();
    let errors = on_ranks(2, |rank| {
        let trained = trained(20, rank);
        let mut checkpointer = checkpointer(&checkpoints, LIMIT, rank);
        let error = checkpointer.begin(snapshot(&trained, rank), rank).unwrap_err().to_string();
        assert_eq!(checkpointer.outcome(), Outcome::Idle);
        error
    });
    assert_eq!(errors[0], errors[1]);
    assert!(errors[0].contains("rank 0: ") && errors[0].contains(&*checkpoints.to_string_lossy()), "{}", errors[0]);
    assert_eq!(fs::read_to_string(&checkpoints).unwrap(), "a file");
}

#[test]
fn an_unmeasured_best_metric_stops_all_ranks_though_only_the_first_knows_the_numbers() {
    let folder = TempDir::new().unwrap();
    let config = CheckpointConfig { best: "accuracy".into(), ..CheckpointConfig::default() };
    let errors = on_ranks(2, |rank| {
        let trained = trained(20, rank);
        let mut snapshot = snapshot(&trained, rank);
        if rank.rank() > 0 {
            snapshot.metrics.clear();
        }
        let mut checkpointer = Checkpointer::new(folder.path(), &config, LIMIT, rank);
        checkpointer.begin(snapshot, rank).unwrap_err().to_string()
    });
    assert_eq!(errors[0], errors[1]);
    assert!(errors[0].contains("`accuracy`") && errors[0].contains("loss"), "{}", errors[0]);
}

#[test]
fn every_prefix_of_the_protocol_is_no_checkpoint_and_goes_with_the_next_one() {
    let template = TempDir::new().unwrap();
    let (older, whole) = (write_step(template.path(), 10, 1).folder, write_step(template.path(), 20, 2).folder);
    let files: Vec<String> = names(&whole).into_iter().chain([".rank-1.json".to_owned()]).collect();
    let content = |name: &str| fs::read(whole.join(name)).unwrap_or_else(|_| b"{}".to_vec());
    // Any subset of the files, in a folder that was not renamed; and all renamed ones without a manifest.
    for subset in 0_u32..1 << files.len() {
        for renamed in [false, true] {
            let has = |name: &str| files.iter().position(|file| file == name).is_some_and(|at| subset >> at & 1 == 1);
            // All subsets are read; a sample of them, with the whole and the empty one, is written over, which takes
            // longer.
            let written_over = subset % 37 == 0 || subset + 1 == 1 << files.len();
            if renamed && has("MANIFEST.json") || !written_over && subset % 5 != 0 {
                continue;
            }
            let folder = TempDir::new().unwrap();
            copy(&older, &step_folder(folder.path(), 10));
            let left = if renamed { step_folder(folder.path(), 20) } else { partial_folder(folder.path(), 20) };
            fs::create_dir(&left).unwrap();
            for name in files.iter().filter(|name| has(name)) {
                fs::write(left.join(name), content(name)).unwrap();
            }
            assert_eq!(latest(folder.path()).unwrap().state.step, 10, "subset {subset:b} of {files:?}");
            if written_over {
                write_step(folder.path(), 30, 1);
                assert_eq!(names(folder.path()), set(["step-00000010", "step-00000030"]), "subset {subset:b}");
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in names(from) {
        fs::copy(from.join(&name), to.join(&name)).unwrap();
    }
}

#[test]
fn a_step_that_is_written_again_replaces_the_damaged_one_and_later_damaged_ones_do_not_push_it_out() {
    let folder = TempDir::new().unwrap();
    for step in [10, 20, 30] {
        write_step(folder.path(), step, 1);
    }
    for step in [20, 30] {
        fs::write(step_folder(folder.path(), step).join("model.safetensors"), "damaged").unwrap();
    }
    assert_eq!(names(folder.path()), set(["step-00000020", "step-00000030"]), "the default keeps two");
    let written = write_step(folder.path(), 20, 1);
    assert_eq!(latest(folder.path()).unwrap().folder(), written.folder);
}

#[test]
fn the_newest_the_best_and_every_so_many_steps_stay() {
    let folder = TempDir::new().unwrap();
    let config = CheckpointConfig { keep: 1, keep_every: 40, best: "loss".into(), ..CheckpointConfig::default() };
    on_ranks(2, |rank| {
        let mut checkpointer = Checkpointer::new(folder.path(), &config, LIMIT, rank);
        for (step, loss) in [(10, 5.0), (20, 3.0), (30, 4.0), (40, 6.0), (50, 3.5), (60, 7.0)] {
            let trained = trained(step, rank);
            let mut snapshot = snapshot(&trained, rank);
            // Only the first rank logs, so only its numbers count.
            let loss = if rank.rank() == 0 { loss } else { -loss };
            snapshot.metrics.insert("loss".into(), loss);
            checkpointer.begin(snapshot, rank).unwrap();
        }
        checkpointer.finish(rank).unwrap();
    });
    assert_eq!(names(folder.path()), set(["best", "step-00000020", "step-00000040", "step-00000060"]));
    assert_eq!(latest_or_named(&folder.path().join("best")).unwrap().state.step, 20);
    assert_eq!(latest(folder.path()).unwrap().state.step, 60);
}

#[test]
fn dropping_a_checkpointer_completes_the_checkpoint_in_flight() {
    let folder = TempDir::new().unwrap();
    on_ranks(2, |rank| {
        let trained = trained(10, rank);
        let mut checkpointer = checkpointer(folder.path(), LIMIT, rank);
        checkpointer.begin(snapshot(&trained, rank), rank).unwrap();
    });
    assert_eq!(latest(folder.path()).unwrap().state.step, 10);
    assert_eq!(names(folder.path()), set(["step-00000010"]));
}

#[test]
fn a_snapshot_without_a_teacher_and_with_further_sets_is_written_whole() {
    let folder = TempDir::new().unwrap();
    let mut trained = trained(5, &Solo);
    let extra = trained.teacher.take().unwrap();
    let snapshot = Snapshot {
        trained: &trained,
        extra: vec![("encoder.safetensors", &extra)],
        state: state(5, 1),
        metrics: BTreeMap::new(),
    };
    let written = write(folder.path(), snapshot, LIMIT, &Solo).unwrap();
    assert_eq!(written.parameter_hash, trained.parameter_hash().unwrap());
    let checkpoint = Checkpoint::open(&written.folder).unwrap();
    let read = ParamSet::zeros(extra.layout(), tch::Device::Cpu);
    checkpoint.load("encoder.safetensors", &read).unwrap();
    assert_eq!(read.flat(), extra.flat());
    let error = checkpoint.load("teacher.safetensors", &read).unwrap_err().to_string();
    assert!(error.contains("step-00000005") && error.contains("teacher.safetensors"), "{error}");
}
