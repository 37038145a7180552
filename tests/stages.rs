//! Every stage that trains has what the one training loop gives: the same four promises for each of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use syncyte_tests::{Lab, Running, losses, metrics, signal, turn};

/// A stage, with the length of a run and what else its steps need.
struct Stage {
    command: &'static str,
    steps: &'static str,
    settings: &'static [&'static str],
}

const STAGES: [Stage; 3] = [
    Stage { command: "pretrain", steps: "engine.steps", settings: &[] },
    Stage { command: "finetune", steps: "finetune.steps", settings: &["finetune.conditions=8"] },
    Stage { command: "diffuse", steps: "diffusion.steps", settings: &["diffusion.batch_size=64"] },
];

/// Steps of a run that is broken off.
const STEPS: u64 = 250;

/// A stage in a lab that holds the pretraining run which later stages start from.
struct Bench<'a> {
    lab: &'a Lab,
    stage: &'a Stage,
}

/// Runs `body` for every stage.
fn for_every_stage(body: impl Fn(&Bench<'_>)) {
    let lab = Lab::new();
    lab.train(1, "pretrain", "base", &["engine.steps=30"]).assert_code(0);
    for stage in &STAGES {
        println!("stage {}", stage.command);
        body(&Bench { lab: &lab, stage });
    }
}

impl Bench<'_> {
    /// Run folder of a name, of this stage's own.
    fn run(&self, name: &str) -> String {
        format!("{}-{name}", self.stage.command)
    }

    /// Where the stage's own files lie below the lab.
    fn folder(&self, name: &str) -> String {
        match self.stage.command {
            "pretrain" => self.run(name),
            later => format!("{}/{later}", self.run(name)),
        }
    }

    fn command(&self, resume: bool) -> String {
        let command = self.stage.command;
        let from = match command {
            "pretrain" => String::new(),
            _ => format!(" --from {}", self.lab.path("base").display()),
        };
        format!("{command}{from}{}", if resume { " --resume" } else { "" })
    }

    fn settings<'s>(&self, steps: &'s str, further: &[&'s str]) -> Vec<&'s str> {
        [&[steps], self.stage.settings, further].concat()
    }

    fn steps(&self, steps: u64) -> String {
        format!("{}={steps}", self.stage.steps)
    }

    fn start(&self, ranks: usize, name: &str, steps: u64, further: &[&str]) -> Running {
        let steps = self.steps(steps);
        self.lab.start(ranks, &self.command(false), &self.run(name), &self.settings(&steps, further))
    }

    /// Runs to the end; gives the hash of the parameters.
    fn train(&self, ranks: usize, name: &str, resume: bool, steps: u64, further: &[&str]) -> String {
        let steps = self.steps(steps);
        let outcome = self.lab.train(ranks, &self.command(resume), &self.run(name), &self.settings(&steps, further));
        let hash = outcome.json()["parameter_hash"].as_str().unwrap_or_default().to_owned();
        assert_eq!(hash.len(), 64, "{}: {hash}", self.stage.command);
        hash
    }

    fn losses(&self, name: &str, steps: u64) -> Vec<f64> {
        losses(&self.lab.path(&self.folder(name)), steps)
    }
}

#[test]
fn a_stage_that_lost_a_rank_at_any_step_resumes_to_the_parameters_of_an_uninterrupted_one() {
    let _turn = turn("a_stage_that_lost_a_rank_at_any_step_resumes_to_the_parameters_of_an_uninterrupted_one");
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| u64::from(now.subsec_micros()));
    let (step, victim) = (10 + seed % (STEPS / 2), (seed / 1000 % 2) as usize);
    println!("seed {seed}: process {victim} is killed once step {step} is logged");
    for_every_stage(|bench| {
        let settings = ["checkpoint.every=20", "checkpoint.keep=2"];
        let whole = bench.train(2, "whole", false, STEPS, &settings);
        let mut running = bench.start(2, "broken", STEPS, &settings);
        bench.lab.wait_for_step(&mut running, &bench.folder("broken"), step);
        signal(&[running.ranks()[victim]], "KILL");
        let outcome = running.wait(Duration::from_mins(1));
        assert_ne!(outcome.code, Some(0), "a run that lost a rank must not succeed");
        assert_eq!(bench.train(2, "broken", true, STEPS, &settings), whole, "{}", bench.stage.command);
        assert_eq!(bench.losses("broken", STEPS), bench.losses("whole", STEPS), "{}", bench.stage.command);
    });
}

#[test]
fn a_deterministic_stage_has_the_same_parameters_on_one_two_and_four_ranks() {
    let _turn = turn("a_deterministic_stage_has_the_same_parameters_on_one_two_and_four_ranks");
    for_every_stage(|bench| {
        let settings = ["engine.deterministic=true", "engine.logical_shards=4"];
        let run = |ranks: usize| bench.train(ranks, &format!("on-{ranks}"), false, 25, &settings);
        let [one, two, four] = [1, 2, 4].map(run);
        assert_eq!((&two, &four), (&one, &one), "{}", bench.stage.command);
        assert_eq!(bench.losses("on-4", 25), bench.losses("on-1", 25), "{}", bench.stage.command);
        let usual = bench.train(1, "usual", false, 25, &[]);
        assert_ne!(usual, one, "{}: the setting has an effect", bench.stage.command);
    });
}

#[test]
fn losses_of_a_stage_in_bf16_follow_those_in_f32() {
    let _turn = turn("losses_of_a_stage_in_bf16_follow_those_in_f32");
    for_every_stage(|bench| {
        let run = |precision: &str| {
            bench.train(2, precision, false, 30, &[&format!("engine.precision={precision}")]);
            bench.losses(precision, 30)
        };
        let (exact, near) = (run("f32"), run("bf16"));
        let differences: Vec<f64> = exact.iter().zip(&near).map(|(a, b)| (a - b).abs() / a.abs()).collect();
        let largest = differences.iter().copied().fold(0.0, f64::max);
        let mean = differences.iter().sum::<f64>() / 30.0;
        println!("{}: {largest} at most, {mean} in the mean", bench.stage.command);
        assert!(largest <= 0.04 && mean <= 0.0075, "{}: {largest}, {mean} in the mean", bench.stage.command);
        assert!(largest > 0.0, "{}: nothing is rounded", bench.stage.command);
    });
}

#[test]
fn a_stage_that_is_asked_to_end_saves_itself_exits_with_85_and_goes_on_where_it_was() {
    let _turn = turn("a_stage_that_is_asked_to_end_saves_itself_exits_with_85_and_goes_on_where_it_was");
    for_every_stage(|bench| {
        let settings = ["checkpoint.every=10000"];
        let whole = bench.train(2, "wanted", false, STEPS, &settings);
        let mut running = bench.start(2, "asked", STEPS, &settings);
        bench.lab.wait_for_step(&mut running, &bench.folder("asked"), 20);
        signal(&[running.id()], "USR1");
        let outcome = running.wait(Duration::from_mins(2));
        let step = metrics(&bench.lab.path(&bench.folder("asked"))).len() as u64;
        assert!((20..STEPS).contains(&step), "{} was asked after its end", bench.stage.command);
        outcome.assert_refused(85, &[&format!("SIGUSR1 at step {step}: "), "the run is saved in", "--resume"]);
        assert_eq!(bench.train(2, "asked", true, STEPS, &settings), whole, "{}", bench.stage.command);
    });
}
