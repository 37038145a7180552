//! Several ranks are one run to whoever looks at it: one message at its end, one bar, each core given out once.

use std::fs;
use std::process::{Command, Stdio};

use syncyte_tests::{Lab, binary, run, skip, start_in, turn};

/// Begins notes that only `launch` reads.
const MARK: char = '\u{1e}';

#[test]
fn the_cause_of_a_failed_run_stands_once_and_last() {
    let _turn = turn("the_cause_of_a_failed_run_stands_once_and_last");
    let lab = Lab::new();
    let chunk = lab.path("cells.zarr/X/data/c/0");
    let mut bytes = fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&chunk, bytes).unwrap();
    for ranks in [1, 2] {
        let name = format!("run-{ranks}");
        let outcome = lab.train(ranks, "pretrain", &name, &["engine.steps=20", "data.bad_chunk_share=0"]);
        outcome.assert_refused(3, &["checksum"]);
        let text = &outcome.stderr;
        for twice in ["step 0: step 0:", "step 1: step 1:"] {
            assert!(!text.contains(twice), "{text}");
        }
        assert!(!text.contains("mpirun") && !text.contains("-----") && !text.contains(MARK), "{text}");
        let from = text.rfind("error: ").unwrap();
        let last: Vec<&str> = text[from..].lines().collect();
        assert!(last[0].contains("checksum") || last.iter().any(|line| line.contains("checksum")), "{text}");
        assert!(last[1..].iter().all(|line| line.starts_with("  ")), "something stands behind the cause:\n{text}");
        let log = fs::read_to_string(lab.path(&name).join("log/mpirun.log"));
        assert_eq!(log.is_ok_and(|log| log.contains("exit")), ranks > 1, "what mpirun says is in the log");
    }
}

#[test]
fn a_rank_that_the_system_ended_is_named() {
    let _turn = turn("a_rank_that_the_system_ended_is_named");
    let lab = Lab::new();
    let mut running = lab.start(2, "pretrain", "run", &["engine.steps=100000"]);
    lab.wait_for_step(&mut running, "run", 5);
    syncyte_tests::signal(&running.ranks()[1..], "KILL");
    let outcome = running.to_end();
    assert_ne!(outcome.code, Some(0));
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("error: rank 1 on host ") && last.contains("signal 9 (Killed)"), "{}", outcome.stderr);
    assert!(!outcome.stderr.contains("-----"), "{}", outcome.stderr);
}

#[test]
fn other_programs_are_passed_through() {
    let _turn = turn("other_programs_are_passed_through");
    let outcome = run(["launch", "-n", "2", "--", "sh", "-c", "echo to-out; echo to-err >&2; exit 7"]);
    outcome.assert_code(7);
    assert!(outcome.stdout.contains("to-out") && outcome.stderr.contains("to-err"), "{outcome:?}");
    run(["launch", "-n", "2", "--", "true"]).assert_code(0);
}

#[test]
fn there_is_one_bar_on_a_terminal_and_none_elsewhere() {
    let _turn = turn("there_is_one_bar_on_a_terminal_and_none_elsewhere");
    let lab = Lab::new();
    let command = format!(
        "{} launch -n 2 -- syncyte pretrain --config {} --set run.dir={} --set engine.steps=400",
        binary().display(),
        lab.path("run.toml").display(),
        lab.path("seen").display()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::null()).env("TERM", "xterm").env_remove("RUST_LOG");
    match script.output() {
        Err(error) => skip(&format!("progress on a terminal: script: {error}")),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{text}");
            assert!(text.contains("pretrain") && text.contains("/400") && text.contains("loss "), "{text}");
            assert!(!text.contains(MARK), "{text}");
        }
    }
    let quiet = lab.train(2, "pretrain", "unseen", &["engine.steps=50"]);
    quiet.assert_code(0);
    assert!(!quiet.stderr.contains("/50") && !quiet.stderr.contains(MARK), "{}", quiet.stderr);
    assert!(!quiet.stderr.contains("times its own best"), "{}", quiet.stderr);
}

/// Threads of each rank of a short measurement, started by these words.
fn threads(before: &[&str], words: &[&str]) -> u64 {
    let config = syncyte_tests::workspace_root().join("configs/bench_e1.toml");
    let mut command = Command::new(before.first().copied().unwrap_or_else(|| binary().to_str().unwrap()));
    if let Some(rest) = before.get(1..) {
        command.args(rest).arg(binary());
    }
    command.args(words).args(["--json", "bench", "step", "--config"]).arg(config);
    let small = "model.encoder.hidden=[8] model.encoder.tokens=2 model.encoder.width=8 model.encoder.depth=1 \
                 model.encoder.heads=2 model.predictor.depth=1 model.predictor.heads=2 model.perturbation.width=8";
    command.args(small.split_whitespace().flat_map(|setting| ["--set", setting]));
    command.args(["--genes", "20", "--targets", "4", "--batch", "4", "--steps", "1", "--warmup", "1"]);
    let output = command.env_remove("OMP_NUM_THREADS").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let answer: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default())
        .unwrap_or_else(|error| panic!("{error}: {text}\n{}", String::from_utf8_lossy(&output.stderr)));
    answer["threads"].as_u64().unwrap()
}

#[test]
fn ranks_use_the_cores_that_they_may_and_share_those_that_others_may() {
    let _turn = turn("ranks_use_the_cores_that_they_may_and_share_those_that_others_may");
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    assert_eq!(threads(&[], &[]), cores);
    assert_eq!(threads(&["taskset", "-c", "0"], &[]), 1);
    assert_eq!(threads(&[], &["launch", "-n", "2", "--", "syncyte"]), (cores / 2).max(1));
    if cores < 2 {
        return skip("bound ranks: there is one core");
    }
    // Each rank is bound to a core of its own: half of one would be none.
    let shell = "exec taskset -c $OMPI_COMM_WORLD_RANK \"$@\"";
    let binary = binary().to_str().unwrap();
    assert_eq!(threads(&[], &["launch", "-n", "2", "--", "sh", "-c", shell, "sh", binary]), 1);
    if cores >= 4 {
        let shell = "exec taskset -c $((2 * OMPI_COMM_WORLD_RANK)),$((2 * OMPI_COMM_WORLD_RANK + 1)) \"$@\"";
        assert_eq!(threads(&[], &["launch", "-n", "2", "--", "sh", "-c", shell, "sh", binary]), 2);
    }
}

#[test]
fn processes_that_do_not_see_each_other_are_refused_before_they_write() {
    let _turn = turn("processes_that_do_not_see_each_other_are_refused_before_they_write");
    let lab = Lab::new();
    let (config, dir) = (lab.path("run.toml").display().to_string(), lab.path("run").display().to_string());
    for (environment, fix) in [
        (&[("SLURM_STEP_ID", "0"), ("SLURM_NTASKS", "2"), ("SLURM_PROCID", "1")][..], "srun --mpi=pmix"),
        (&[("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_NTASKS", "2"), ("SLURM_PROCID", "0")][..], "srun --mpi=pmix"),
        (&[("PMI_SIZE", "2"), ("PMI_RANK", "0")][..], "mpirun"),
    ] {
        let words = ["pretrain", "--config", &config, "--set", &format!("run.dir={dir}")].map(str::to_owned);
        let outcome = start_in(environment, words).to_end();
        outcome.assert_refused(2, &["2 processes", "do not see each other", fix]);
        assert!(!lab.path("run").exists());
    }
}
